"""What a command means: the runs to make, where, and on what.

Parsing happens in steps: first the names of the parts, then the names inside them, then everything, with the options of
just those parts. So `--help` beside `--policy cvae` shows the CVAE's options, and an option of another part is named as
such.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import secrets
import shlex
import time
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ablations.command import words
from ablations.command.arguments import READING, Parser, full_parser, names_parser, nested_defaults
from ablations.command.complaints import explain_unknown, refuse_repeated_flags
from ablations.plan import sense
from ablations.plan.budget import Budget, default_budget
from ablations.plan.config import RunConfig, choose, of_preset
from ablations.plan.crossing import cross, make_runs, refuse_idle, refuse_repeats
from ablations.plan.parts import CHOICES
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from ablations.plan.studies import STUDIES
from ablations.run import frozen
from core import devices
from core.options import OptionError, unknown_name
from tasks import make_task


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A whole command: the runs to make, where, on what, the study they belong to, and which of its runs to do now."""

    runs: list[RunConfig]
    out: Path
    device: torch.device
    compile: str
    seeds_at_once: int | None = None
    #: seconds between two writings of how far a run has come; None: the default
    checkpoint_every: float | None = None
    study: str | None = None
    only: tuple[str, ...] = ()
    #: combinations that were skipped, and why, in lines
    left_out: tuple[str, ...] = ()
    #: say what the data are and train nothing
    describe: bool = False


#: `--critic exact` is short for `--critic.source exact`
SHORT = re.compile("^--critic(=|$)")


def parse(arguments: Sequence[str]) -> Invocation:
    """The command's meaning, checked. Raises `OptionError` with one line for anything that cannot be used."""
    arguments = [SHORT.sub(r"--critic.source\1", word) for word in arguments]
    refuse_repeated_flags(arguments)
    early, _ = names_parser().parse_known_args(arguments)
    if early.study is not None:
        _refuse_what_a_study_sets(early.study, arguments)
    commands = [_parse_runs([*own, *arguments], label) for label, own in _commands(early.study)]
    known, left_out = commands[-1].known, [line for command in commands for line in command.left_out]
    runs = [run for command in commands for run in command.runs]
    if not runs:
        raise OptionError(left_out[0].partition(": ")[2])
    refuse_idle(dict.fromkeys(option for command in commands for option in command.options), runs)
    # a comparison gives every run what the longest asks for
    longest = max((run.budget for run in runs), key=lambda budget: budget.steps)
    runs = [dataclasses.replace(run, budget=run.budget.as_long_as(longest)) for run in frozen.shared(runs)]
    sense.refuse_senseless(runs)
    _refuse_unknown_only(early, runs)
    name = early.study or f"{re.sub('[:/]+', '-', known.task)}-{'-'.join(run.label for run in runs)}"
    return Invocation(
        runs,
        known.out or _below_runs(name),
        devices.chosen(known.device),
        known.compile,
        known.seeds_at_once,
        known.checkpoint_every,
        early.study,
        tuple(run.label for run in runs if _asked(run.label, early.only)),
        tuple(left_out),
        known.describe,
    )


def parse_reading(arguments: Sequence[str]) -> tuple[str, list[Path], Path] | None:
    """How to read directories as one, which, and where the result goes; None where the command trains."""
    flags = {word.partition("=")[0] for word in arguments}
    kind = next((kind for kind in READING if f"--{kind}" in flags), None)
    if kind is None or flags & {"-h", "--help"}:
        return None
    refuse_repeated_flags(arguments)
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{kind}", nargs="+", type=words.path, dest="directories")
    parser.add_argument("--out", type=words.directory, default=_below_runs(kind))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(f"{unknown[0]}: --{kind} reads what is there and takes --out alone; leave it out")
    return kind, known.directories, known.out


def _below_runs(name: str) -> Path:
    # two commands may begin in one second
    return Path("runs") / f"{name[:80]}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _commands(study: str | None) -> list[tuple[str | None, list[str]]]:
    """The label and the arguments of each command of a study; without one, the user's own command and nothing else."""
    if study is None:
        return [(None, [])]
    common = STUDIES[study].common
    return [(label, shlex.split(f"{common} {own}")) for label, own in STUDIES[study].runs.items()]


@dataclasses.dataclass(frozen=True)
class _Command:
    """The runs of one command, lines of what was left out, all that was said, and the options of parts among it."""

    runs: list[RunConfig]
    left_out: list[str]
    known: argparse.Namespace
    options: list[str]


def _parse_runs(arguments: Sequence[str], label: str | None) -> _Command:
    early, _ = names_parser().parse_known_args(arguments)
    requests, within = _with_policies_inside(_named(early, _chosen_parts(early)), arguments)
    chosen, first = [choose(request) for request in requests], requests[0]
    selections = early.selection or list(dict.fromkeys(names["selection"] for names in chosen))
    task = make_task(early.task, early.backend)
    defaults = ChainMap(of_preset(first), dict(task.defaults))
    parser = full_parser(chosen, selections, defaults, default_budget(first, chosen[0]), task.options)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(explain_unknown(unknown[0], arguments, parser, chosen, selections))
    for flag in ("seeds", "selection", "resample"):
        refuse_repeats(f"--{flag}", getattr(known, flag))
    said = {name: value for name, value in vars(known).items() if value is not None}
    options = {name: values for name, values in _options(arguments, said).items() if name not in within}
    common = {
        "budget": {field.name: said[field.name] for field in dataclasses.fields(Budget) if field.name in said},
        "selections": known.selection,
        "resample": known.resample,
        "seeds": tuple(known.seeds),
        "label": label,
        "critic_from": None if known.critic_from is None else str(known.critic_from),
        "precision": known.precision,
    }
    requests = [dataclasses.replace(request, **common) for request in cross(requests, "options", options)]
    runs, left_out = make_runs(requests, known.skip_impossible)
    return _Command(runs, left_out, known, [*options, *(["backup"] if early.backup else [])])


def _with_policies_inside(requests: list[Request], arguments: Sequence[str]) -> tuple[list[Request], set[str]]:
    """The requests crossed with what is named of policies inside policies, to any depth, and what that was."""
    within: set[str] = set()
    while True:
        inner, _ = names_parser(nested_defaults(map(choose, requests))).parse_known_args(arguments)
        found = {key: names for key, names in vars(inner).items() if "." in key and names and key not in within}
        if not found:
            return requests, within
        requests = cross(requests, "names", found)
        within |= set(found)


def _options(arguments: Sequence[str], said: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each `part.field`, in the order of the command."""
    words = [word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for word in arguments]
    found = {name: said[name] for name in words if "." in name and name in said}
    return {name: values if isinstance(values, list) else [values] for name, values in found.items()}


def _named(early: argparse.Namespace, chosen: dict[str, list[str]]) -> list[Request]:
    """A request for each combination of presets, policy classes and other parts."""
    if early.as_released and not early.preset:
        raise OptionError("--as-released is of a preset; name one with --preset, or leave it out")
    refuse_repeats("--preset", early.preset)
    policies = early.policy or ([] if early.preset else ["diffusion"])
    if early.as_released and not any(PRESETS[preset].as_released for preset in early.preset):
        raise OptionError(f"--as-released: of {', '.join(early.preset)} nothing is released otherwise; leave it out")
    heads = [
        Request(early.task, preset=preset, as_released=early.as_released, backend=early.backend)
        for preset in early.preset or [None]
    ]
    return cross(heads, "names", {**({"policy": policies} if policies else {}), **chosen})


def _chosen_parts(early: argparse.Namespace) -> dict[str, list[str]]:
    chosen = {part: getattr(early, part) for part in CHOICES if part != "policy" and getattr(early, part)}
    if early.bc_only:
        if chosen.get("improvement", ["none"]) != ["none"]:
            raise OptionError(
                f"--bc-only and --improvement {' '.join(chosen['improvement'])} exclude each other: "
                "behaviour cloning alone has no improvement; leave one of them out"
            )
        chosen["improvement"] = ["none"]
    return chosen


def _refuse_unknown_only(early: argparse.Namespace, runs: Sequence[RunConfig]) -> None:
    """`--only` names runs of a study."""
    if early.only and early.study is None:
        raise OptionError("--only is of a study; name one with --study, or leave it out")
    for label in early.only:
        if not any(_asked(run.label, [label]) for run in runs):
            raise OptionError(f"--only: {unknown_name(label, [run.label for run in runs])}")


def _asked(label: str, only: Sequence[str]) -> bool:
    """Whether `--only` names the run, or the study's run that several values made it one of."""
    return label in only or label.partition(",")[0] in only


def _refuse_what_a_study_sets(name: str, arguments: Sequence[str]) -> None:
    """A study is its runs: what tells them apart, and the task its figures are of, cannot be said over."""
    own = {word for run in STUDIES[name].runs.values() for word in shlex.split(run) if word.startswith("--")}
    for word in arguments:
        flag = word.partition("=")[0]
        if flag in own | {"--task", "--bc-only", "--preset"}:
            raise OptionError(
                f"{flag}: the runs of study {name} set it; leave it out, or make the runs without --study"
            )
