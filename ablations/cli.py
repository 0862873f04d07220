"""The command line, made from the dataclasses of the chosen parts.

Parsing happens twice: first the names of the parts, then everything, with the options of just those parts. So
`--help` beside `--policy cvae` shows the CVAE's options, and an option of another part is named as such.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import time
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from ablations.config import CHOICES, DEFAULT_CHOICES, Budget, RunConfig, choose, make_run, option_classes
from core.options import OptionError
from tasks import TASKS

DESCRIPTION = """\
Train policy classes on offline data under one critic and one trainer, and compare what they learned.

  python run_ablation.py --policy diffusion --bc-only            one class, behaviour cloning alone
  python run_ablation.py --policy diffusion gaussian cvae        three classes, each maximising Q too
  python run_ablation.py --policy gaussian --selection argmax-q  a factor swapped
  python run_ablation.py --policy cvae --help                    the options of the parts named
"""


class Parser(argparse.ArgumentParser):
    """Every complaint is one `OptionError`, printed and turned into an exit code in one place."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A whole command: the runs to make, where, and on what."""

    runs: list[RunConfig]
    out: Path
    device: torch.device
    compile: str


def parse(arguments: Sequence[str]) -> Invocation:
    """The command's meaning, checked. Raises `OptionError` with one line for anything that cannot be used."""
    early, _ = _names_parser().parse_known_args(arguments)
    chosen = _chosen_parts(early)
    per_policy = [choose(early.task, {**chosen, "policy": policy}) for policy in early.policy]
    parser = _full_parser(early.task, per_policy)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(_explain_unknown(unknown[0], parser, per_policy))
    given = {name: value for name, value in vars(known).items() if "." in name and value is not None}
    budget = {f.name: getattr(known, f.name) for f in dataclasses.fields(Budget) if getattr(known, f.name) is not None}
    runs = [
        make_run(early.task, {**chosen, "policy": policy}, given, tuple(known.seeds), budget) for policy in early.policy
    ]
    _refuse_repeats("--policy", early.policy)
    _refuse_repeats("--seeds", known.seeds)
    out = (
        known.out or Path("runs") / f"{early.task}-{'-'.join(run.label for run in runs)}-{time.strftime('%m%d-%H%M%S')}"
    )
    return Invocation(runs, out, _device(known.device), known.compile)


def _names_parser(add_help: bool = False) -> Parser:
    parser = Parser(
        prog="run_ablation.py",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=add_help,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("what to compare")
    group.add_argument(
        "--policy",
        nargs="+",
        default=["diffusion"],
        **_among(CHOICES["policy"]),
        help="policy class, default: diffusion; several make a comparison",
    )
    group.add_argument("--bc-only", action="store_true", help="behaviour cloning alone: no improvement, no critic")
    for part in ("regularizer", "improvement", "backup", "selection"):
        group.add_argument(
            f"--{part}", **_among(CHOICES[part]), help=f"default: {DEFAULT_CHOICES[part]}, or the task's"
        )
    group.add_argument("--task", default="bandit", **_among(TASKS), help="default: bandit")
    return parser


def _among(registry: typing.Mapping[str, Any]) -> dict[str, Any]:
    def known(name: str) -> str:
        if name in registry:
            return name
        close = difflib.get_close_matches(name, registry, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise argparse.ArgumentTypeError(f"unknown {name!r}, choose from {', '.join(registry)}{hint}")

    return {"type": known, "metavar": "|".join(registry)}


def _full_parser(task: str, per_policy: list[dict[str, str]]) -> Parser:
    parser = _names_parser(add_help=True)
    group = parser.add_argument_group("the run")
    group.add_argument(
        "--seeds", nargs="+", type=_seed, default=[0, 1, 2, 3, 4], metavar="N", help="default: 0 1 2 3 4"
    )
    defaults = [TASKS[task].default_budget(names) for names in per_policy]
    for field in dataclasses.fields(Budget):
        value = defaults[0].get(field.name, field.default)
        _add_field(group, f"--{field.name.replace('_', '-')}", field.name, field, Budget, value)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: auto")
    group.add_argument(
        "--compile",
        default="auto",
        choices=("auto", "on", "off"),
        help="fuse activations with a compiler; default: auto",
    )
    group.add_argument("--out", type=Path, metavar="DIR", help="new directory for the results; default: below runs/")
    sections: dict[tuple[str, str], type] = {}
    for names in per_policy:
        for part, config in option_classes(names).items():
            sections[part, names.get(part, "")] = config
    seen: set[str] = set()
    for (part, name), config in sections.items():
        section = parser.add_argument_group(f"{part} {name}".strip())
        for field in dataclasses.fields(config):
            key = f"{part}.{field.name}"
            if key not in seen:
                flag = f"--{key.replace('_', '-')}"
                _add_field(section, flag, key, field, config, TASKS[task].defaults.get(key, field.default))
            seen.add(key)
    return parser


def _add_field(group, flag: str, key: str, field: dataclasses.Field, config: type, default: Any) -> None:
    """One option of a dataclass; left out of the command line it stays None, and the dataclass decides."""
    kind = typing.get_type_hints(config)[field.name]
    optional = isinstance(kind, types.UnionType)
    if optional:
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    shown = {None: "none", True: "on", False: "off"}[default] if default is None or kind is bool else default
    described = f"{field.metadata['help']}; default: {shown}".replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, dest=key, action=argparse.BooleanOptionalAction, default=None, help=described)
        return
    choices = field.metadata["choices"]
    metavar = "|".join(choices) if choices else kind.__name__
    group.add_argument(flag, dest=key, type=kind, metavar=metavar, help=described)


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed; seeds are whole numbers from 0")
    return int(text)


def _chosen_parts(early: argparse.Namespace) -> dict[str, str]:
    chosen = {part: getattr(early, part) for part in CHOICES if part != "policy" and getattr(early, part) is not None}
    if early.bc_only:
        if chosen.get("improvement", "none") != "none":
            raise OptionError(
                f"--bc-only and --improvement {chosen['improvement']} exclude each other: "
                "behaviour cloning alone has no improvement; leave one of them out"
            )
        chosen["improvement"] = "none"
    return chosen


def _explain_unknown(argument: str, parser: Parser, per_policy: list[dict[str, str]]) -> str:
    """Why this argument was not understood: another part's option, a misspelling, or a stray word."""
    if not argument.startswith("-"):
        return f"unexpected argument {argument!r}; options start with --, see --help"
    flag = argument.split("=")[0]
    part, _, field = flag[2:].replace("-", "_").partition(".")
    owners = [
        name for name, config in CHOICES.get(part, {}).items() if field in {f.name for f in dataclasses.fields(config)}
    ]
    if owners:
        names = ", ".join(dict.fromkeys(chosen[part] for chosen in per_policy))
        accepted = [option for option in parser._option_string_actions if option.startswith(f"--{part}.")]
        has = f"{part} {names} takes {', '.join(accepted)}" if accepted else f"{part} {names} has no options"
        return f"{flag} is an option of {part} {', '.join(owners)}, not of {names}; {has}"
    close = difflib.get_close_matches(flag, parser._option_string_actions, n=1)
    return f"unknown option {flag}" + (f"; did you mean {close[0]}?" if close else "; see --help")


def _refuse_repeats(flag: str, values: Sequence[Any]) -> None:
    repeated = sorted({value for value in values if list(values).count(value) > 1})
    if repeated:
        raise OptionError(f"{flag}: {', '.join(map(str, repeated))} named more than once; each may appear once")


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError(f"--device: unknown {name!r}, choose from auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"--device {name}: not here ({torch.cuda.device_count()} CUDA devices); use cpu or auto")
    return device
