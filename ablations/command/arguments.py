"""The parser of the command line, made from the dataclasses of the chosen parts."""

from __future__ import annotations

import argparse
import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ablations.command import words
from ablations.plan import own
from ablations.plan.budget import Budget
from ablations.plan.parts import CHOICES, DEFAULT_CHOICES, nested_defaults, sections
from ablations.plan.presets import PRESETS
from ablations.plan.studies import STUDIES
from ablations.plan.views import selection_name
from ablations.run.loggers import LOGGERS
from core.fusion import PRECISIONS
from core.options import OptionError, Options, flag_of, unknown_name, written
from policies import POLICIES
from tasks import BACKENDS, make_task
from tasks.transforms import TransformConfig
from trainers import SELECTIONS

DESCRIPTION = """\
Train policy classes on offline data under one critic and one trainer, and compare what they learned.

  python run_ablation.py --policy diffusion --bc-only            one class, behaviour cloning alone
  python run_ablation.py --policy diffusion gaussian cvae        three classes, each maximising Q too
  python run_ablation.py --policy gaussian --selection argmax-q  a factor swapped
  python run_ablation.py --policy flow cvae --improvement none q-max --network.hidden 64 128
                                                                 every combination of what is named
  python run_ablation.py --study expressiveness                  a set of runs that answers a question
  python run_ablation.py --join runs/first runs/more-seeds       the same runs of other seeds, as one
  python run_ablation.py --aggregate runs/hopper runs/walker2d   statistics over tasks
  python run_ablation.py --policy cvae --help                    the options of the parts named
"""
#: what reads directories that are there, instead of training
READING = {
    "figures": "draw directories of results anew, with --format, --style, --width, --runs, --metrics",
    "tables": "write a table of directories of results, with --format, --runs, --metrics",
    "aggregate": "combine directories of results, one for each task: interquartile means, ...",
    "join": "join directories of the same runs with other seeds into one of all seeds",
    "verify": "list what is damaged, missing or foreign in directories of results; exit code 1 if anything is",
    "analyse": "say which factor explains how much of any scores: CSV with score, seed and a column for each factor",
}
Names = Mapping[str, str]


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Says what may be repeated as `NAME ...`, where argparse would write the whole choice twice."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        if action.nargs not in ("+", "*"):
            return super()._format_args(action, default_metavar)
        metavar = self._metavar_formatter(action, default_metavar)(1)[0]
        return f"{metavar} ..." if action.nargs == "+" else f"[{metavar} ...]"


class Parser(argparse.ArgumentParser):
    """Every complaint is one `OptionError`, printed and turned into an exit code in one place."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(message)


def names_parser(nested: Mapping[str, str] | None = None, add_help: bool = False) -> Parser:
    """The options that choose parts; `nested`: fields that hold a policy of their own, with its default's name."""
    parser = Parser(
        prog="run_ablation.py",
        usage="run_ablation.py [--policy NAME ...] [--preset NAME ...] [--task NAME] [options]",
        description=DESCRIPTION,
        formatter_class=Formatter,
        add_help=add_help,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("what to compare")
    policy = "policy class, default: diffusion; several values, here and of any part or --part.option, are compared"
    group.add_argument("--policy", nargs="+", default=[], **_among(CHOICES["policy"], kind="policy"), help=policy)
    preset = "published method, a row of parts and options that others override; several are compared"
    group.add_argument("--preset", nargs="+", default=[], **_among(PRESETS), help=preset)
    released = "the preset with its released code's deviations from the paper"
    group.add_argument("--as-released", action="store_true", help=released)
    for key, default in (nested or {}).items():
        help = f"the policy class inside; default: {default}"
        group.add_argument(flag_of(key), dest=key, nargs="+", **_among(POLICIES, kind="policy"), help=help)
    group.add_argument("--bc-only", action="store_true", help="behaviour cloning alone: no improvement, no critic")
    for part in ("regularizer", "improvement", "backup"):
        default = f"default: {DEFAULT_CHOICES[part]}, or the task's"
        group.add_argument(f"--{part}", nargs="+", default=[], **_among(CHOICES[part], kind=part), help=default)
    acting = "how the policy acts, all on the same weights: name, or name:candidates=10; default: one, or the task's"
    group.add_argument("--selection", nargs="+", default=[], **_among(SELECTIONS, selection_name), help=acting)
    resample = "evaluate the trained policy with other samplers too: option=value,option=value; default: as trained"
    group.add_argument("--resample", nargs="+", default=[], metavar="SAMPLER", help=resample)
    task = "bandit, bandit:... (--list), local:..., D4RL's names, ogbench:..., minari:..., file:PATH; default: bandit"
    group.add_argument("--task", type=_task, metavar="NAME", help=task)
    backend = "d4rl: data and simulator from the real d4rl + gym + mujoco-py; default: gymnasium"
    group.add_argument("--backend", choices=BACKENDS, help=backend)
    _add_doings(group)
    return parser


def _add_doings(group: Any) -> None:
    """What a command may do with what was named, or instead of it."""
    skip = "leave out combinations that cannot work, and say why; default: they are refused"
    group.add_argument("--skip-impossible", action="store_true", help=skip)
    group.add_argument("--describe", action="store_true", help="describe the task's data, and train nothing")
    every = "the table has all metrics, not the three that matter most; the CSV files always have all"
    group.add_argument("--all-metrics", action="store_true", help=every)
    group.add_argument("--list", action="store_true", help="print all parts, presets and studies, and what combines")
    for kind, help in READING.items():
        group.add_argument(f"--{kind}", nargs="+", type=words.path, metavar="DIR", help=f"instead of training {help}")
    shells = 'a script that completes flags and names: eval "$(python run_ablation.py --print-completion bash)"'
    group.add_argument("--print-completion", metavar="bash|zsh|tcsh", help=shells)
    group.add_argument("--study", **_among(STUDIES), help="run a whole study; further options apply to all its runs")
    again = "make the run or comparison of a directory again, and say whether its numbers come out; exit code 1 if not"
    group.add_argument("--reproduce", type=words.path, metavar="DIR", help=again)
    config = "the plan in a file, TOML, YAML or JSON, or what a run has left; what is said beside it wins"
    group.add_argument("--config", type=words.path, metavar="FILE", help=config)
    save = "write the plan of this command to a file, TOML, YAML or JSON by its ending, and train nothing"
    group.add_argument("--save-config", type=words.path, metavar="FILE", help=save)
    only = "only these runs of the study; other commands with the same --out, also on other machines, may make the rest"
    group.add_argument("--only", nargs="+", default=[], metavar="RUN", help=only)


def _among(
    registry: Mapping[str, Any], name_of: typing.Callable[[str], str] = str, kind: str | None = None
) -> dict[str, Any]:
    """`kind`: of parts that a user may have of their own, as module:Class."""

    def known(text: str) -> str:
        try:
            name = name_of(text) if kind is None else own.named(kind, text)
        except OptionError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        if name in registry:
            return text if kind is None else name
        raise argparse.ArgumentTypeError(unknown_name(name, registry))

    return {"type": known, "metavar": "|".join(name for name in registry if ":" not in name)}


def _task(name: str) -> str:
    try:
        name = own.named("task", name)
        make_task(name)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--task: ")) from None
    return name


def full_parser(
    per_policy: Sequence[Names],
    selections: Sequence[str],
    defaults: Mapping[str, Any],
    budget: Mapping[str, Any],
    of_task: type[Options] = TransformConfig,
) -> Parser:
    """Everything that may be said, given which parts were chosen (for each policy) and how to act.

    `defaults`: option -> what the first policy's preset or the task sets; `budget`: the same for Budget's fields.
    """
    parser = names_parser(nested_defaults(per_policy), add_help=True)
    parser.add_argument("--help-all", action="help", help="as --help beside other options: all that can be said")
    _add_run(parser, budget)
    parts = {(prefix, name): config for names in per_policy for prefix, name, config in sections(names, of_task)}
    parts |= {("selection", name): SELECTIONS[name] for name in map(selection_name, selections)}
    seen: set[str] = set()
    for (prefix, name), config in parts.items():
        section = parser.add_argument_group(f"{prefix} {name}".strip())
        for field in dataclasses.fields(config):
            key = f"{prefix}.{field.name}"
            if key not in seen and "limits" in field.metadata:
                # how to act is compared on the same weights, by naming several selections
                several = prefix != "selection"
                _add_field(section, key, field, config, defaults.get(key, _default(prefix, field)), several)
            seen.add(key)
    return parser


def _add_run(parser: Parser, budget: Mapping[str, Any]) -> None:
    """How long, of which seeds, on what and where to; `budget` as of `full_parser`."""
    group = parser.add_argument_group("the run")
    seeds = "trained together, 0 3 5 or 0-4; default: 0-4"
    kept: dict[str, Any] = {"action": words.Together, "type": words.seeds}
    group.add_argument("--seeds", nargs="+", **kept, metavar="N", help=seeds)
    for field in dataclasses.fields(Budget):
        _add_field(group, field.name, field, Budget, budget.get(field.name, field.default), several=False)
    group.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: auto")
    fusing = "compile the training step; auto: if the run is long enough to save time; off: also launch each kernel of "
    fusing += "a GPU's step by itself; default: auto"
    group.add_argument("--compile", default="auto", choices=("auto", "on", "off"), help=fusing)
    frozen = "take the critic of that run, frozen: the same Q for every policy that is trained by it"
    group.add_argument("--critic-from", type=words.path, metavar="DIR", help=frozen)
    rounding = "of matrix products; bf16 rounds their factors alone; default: float32"
    group.add_argument("--precision", choices=PRECISIONS, help=rounding)
    few = "seeds trained together, groups in turn; default: as many as fit in memory"
    group.add_argument("--seeds-at-once", type=words.at_least_one, metavar="N", help=few)
    often = "keep how far training has come this often, to go on from; default: 300"
    group.add_argument("--checkpoint-every", type=words.seconds, metavar="SECONDS", help=often)
    follows = "who follows training beside the CSV file, which always does: a package each; default: csv"
    group.add_argument("--log", nargs="+", default=[], choices=("csv", *LOGGERS), help=follows)
    rows = "steps between two rows of losses in the log; default: a 200th of the steps"
    group.add_argument("--log-every", type=words.at_least_one, metavar="N", help=rows)
    group.add_argument(
        "--out", type=words.directory, metavar="DIR", help="new directory of results; default: below runs/"
    )
    dry = "say what the command would train, with memory and time, and train nothing"
    group.add_argument("--dry-run", action="store_true", help=dry)
    group.add_argument("--quiet", action="store_true", help="say errors and the table alone: no bars, no notes")


def _default(prefix: str, field: dataclasses.Field) -> Any:
    """What an option is where neither the task nor a preset says: a part's own network is as the shared one."""
    return f"that of --network.{flag_of(field.name)[2:]}" if prefix.endswith(".network") else field.default


def _add_field(group: Any, key: str, field: dataclasses.Field, config: type, default: Any, several: bool) -> None:
    """One option of a dataclass, of one value or a list of them; left out of the command line it stays None."""
    kind = typing.get_type_hints(config)[field.name]
    if isinstance(kind, types.UnionType):
        kind = next(member for member in typing.get_args(kind) if member is not type(None))
    flag, help = flag_of(key), field.metadata["help"].replace("%", "%%")
    if kind is bool:
        help = f"{help}; default: {written(default)}"
        if not several:
            group.add_argument(flag, dest=key, action=argparse.BooleanOptionalAction, default=None, help=help)
            return
        group.add_argument(flag, dest=key, nargs="*", action=words.YesNo, metavar="yes|no", help=help)
        group.add_argument(f"--no-{flag[2:]}", dest=key, action="store_const", const=[False], help=argparse.SUPPRESS)
        return
    choices = field.metadata["limits"]["choices"]
    metavar = "|".join(choices) if choices else kind.__name__
    # None among choices means what the help says
    shown = "" if default is None and choices else f"; default: {'none' if default is None else default}"
    amount: dict[str, Any] = {"nargs": "+"} if several else {}
    if field.metadata["bare"]:
        amount = {"nargs": "?", "const": field.metadata["bare"]}
    short = ["--critic"] if key == "critic.source" else []
    group.add_argument(flag, *short, dest=key, type=words.reads(kind), metavar=metavar, help=f"{help}{shown}", **amount)
