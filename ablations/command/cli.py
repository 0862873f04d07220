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
import time
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ablations.command import words
from ablations.command.arguments import READING, Parser, full_parser, names_parser
from ablations.command.complaints import explain_unknown, refuse_repeated_flags
from ablations.plan import overriding
from ablations.plan.budget import Budget, default_budget
from ablations.plan.config import RunConfig, choose, of_preset
from ablations.plan.making import lengthened, make, named, together
from ablations.plan.parts import nested_defaults
from ablations.plan.plan import BUDGET, FACTORS, Plan
from ablations.plan.studies import STUDIES
from ablations.record import plan_files
from ablations.run import frozen, loggers
from core import devices
from core.options import OptionError, flag_of, unknown_name
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
    #: what else than the CSV file follows training
    loggers: tuple[str, ...] = ()
    log_every: int | None = None
    study: str | None = None
    only: tuple[str, ...] = ()
    #: combinations that were skipped, and why, in lines
    left_out: tuple[str, ...] = ()
    #: where some runs take more steps than their default, which and why, in a line
    longer: tuple[str, ...] = ()
    #: say what the data are and train nothing
    describe: bool = False
    #: whether the table has all metrics
    all_metrics: bool = False
    #: say what would be done and train nothing
    dry_run: bool = False
    #: say errors and results alone
    quiet: bool = False
    #: what was asked for, and the file to write it to instead of training
    plan: Plan | None = None
    save_config: Path | None = None


#: `--critic exact` is short for `--critic.source exact`
SHORT = re.compile("^--critic(=|$)")


def parse(arguments: Sequence[str]) -> Invocation:
    """The command's meaning, checked. Raises `OptionError` with one line for anything that cannot be used."""
    arguments = [SHORT.sub(r"--critic.source\1", word) for word in arguments]
    refuse_repeated_flags(arguments)
    early, _ = names_parser().parse_known_args(arguments)
    if early.study is not None:
        _refuse_what_a_study_sets(STUDIES[early.study], arguments)
    plan, known = _plan(early, arguments)
    made = make(plan)
    runs = together(frozen.shared(made.runs))
    _refuse_unknown_only(early, plan, runs)
    name = plan.name or f"{re.sub('[:/]+', '-', plan.task)}-{'-'.join(run.label for run in runs)}"
    return Invocation(
        runs,
        known.out or _below_runs(name),
        devices.chosen(known.device),
        known.compile,
        known.seeds_at_once,
        known.checkpoint_every,
        _loggers(known.log),
        known.log_every,
        plan.name,
        tuple(run.label for run in runs if _asked(run.label, early.only)),
        made.left_out,
        lengthened(made.runs),
        known.describe,
        known.all_metrics,
        known.dry_run,
        known.quiet,
        plan,
        known.save_config,
    )


def _loggers(named: Sequence[str]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in named if name != "csv"))
    loggers.refuse_missing(names)
    return names


def parse_reading(arguments: Sequence[str]) -> tuple[str, list[Path], Path, bool] | None:
    """How to read directories as one, which, where the result goes, and whether its table has all metrics.

    None where the command trains.
    """
    flags = {word.partition("=")[0] for word in arguments}
    kind = next((kind for kind in READING if f"--{kind}" in flags), None)
    if kind is None or flags & {"-h", "--help", "--help-all"}:
        return None
    refuse_repeated_flags(arguments)
    parser = Parser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{kind}", nargs="+", type=words.path, dest="directories")
    parser.add_argument("--out", type=words.directory, default=_below_runs(kind))
    takes = "--out"
    if kind == "join":
        parser.add_argument("--all-metrics", action="store_true")
        takes = "--out and --all-metrics"
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(f"{unknown[0]}: --{kind} reads what is there and takes {takes} alone; leave it out")
    return kind, known.directories, known.out, getattr(known, "all_metrics", False)


def _below_runs(name: str) -> Path:
    # two commands may begin in one second
    return Path("runs") / f"{name[:80]}-{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"


def _plan(early: argparse.Namespace, arguments: Sequence[str]) -> tuple[Plan, argparse.Namespace]:
    """The plan that a command means, a study's with what the command adds; and all else that it says."""
    names: dict[str, Any] = {factor: getattr(early, factor) for factor in FACTORS if getattr(early, factor)}
    flags: dict[str, Any] = {
        name: True for name in ("bc_only", "as_released", "skip_impossible") if getattr(early, name)
    }
    said: dict[str, Any] = {name: getattr(early, name) for name in ("task", "backend") if getattr(early, name)}
    base = STUDIES[early.study] if early.study else Plan()
    if early.config:
        if early.study:
            raise OptionError("--config and --study each say what to run; leave one of them out")
        also = {"improvement"} if early.bc_only else set()
        base = overriding.without_parts(plan_files.read(early.config), {*names, *said, *also} - {"backend"})
    base = dataclasses.replace(base, **said, **names, **flags)
    options: dict[str, Any] = {}
    for _, command in base.commands():
        # what parts there are decides which options there are
        found, known = _options_of(command, arguments)
        options |= found
    budget = {name: getattr(known, name) for name in BUDGET if getattr(known, name) is not None}
    fields = {name: getattr(known, name) for name in ("seeds", "precision") if getattr(known, name) is not None}
    fields |= {"critic_from": str(known.critic_from)} if known.critic_from else {}
    fields |= budget
    # of a study the arms say what sets them apart, and what they say is refused already
    base = overriding.without(base, fields, options) if early.config else base
    return dataclasses.replace(base, **fields, options={**base.options, **options}), known


def _options_of(command: Plan, arguments: Sequence[str]) -> tuple[dict[str, Any], argparse.Namespace]:
    """The options of parts that the arguments set, read as the parts of this set of runs have them."""
    inside: dict[str, Any] = {}
    while True:
        requests, within = named(dataclasses.replace(command, options={**command.options, **inside}))
        chosen = [choose(request) for request in requests]
        inner, _ = names_parser(nested_defaults(chosen)).parse_known_args(arguments)
        found = {key: names for key, names in vars(inner).items() if "." in key and names and key not in within}
        if not found:
            break
        inside |= found
    selections = list(command.selection) or list(dict.fromkeys(names["selection"] for names in chosen))
    task = make_task(command.task, command.backend)
    defaults = ChainMap(
        {key: values[0] for key, values in command.options.items()}, of_preset(requests[0]), dict(task.defaults)
    )
    # all runs take the longest
    budgets = [default_budget(request, names) for request, names in zip(requests, chosen, strict=True)]
    budget = max(budgets, key=lambda one: one.get("steps", Budget.steps))
    parser = full_parser(chosen, selections, defaults, budget, task.options)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(explain_unknown(unknown[0], arguments, parser, chosen, selections))
    said = {name: value for name, value in vars(known).items() if value is not None}
    options = {name: values for name, values in _options(arguments, said).items() if name not in within}
    return {**inside, **options}, known


def _options(arguments: Sequence[str], said: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each `part.field`, in the order of the command."""
    words = [word.partition("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for word in arguments]
    found = {name: said[name] for name in words if "." in name and name in said}
    return {name: values if isinstance(values, list) else [values] for name, values in found.items()}


def _refuse_unknown_only(early: argparse.Namespace, plan: Plan, runs: Sequence[RunConfig]) -> None:
    """`--only` names runs of a study, or of the several that a file describes."""
    if early.only and not plan.arms:
        raise OptionError("--only is of a study; name one with --study, or leave it out")
    for label in early.only:
        if not any(_asked(run.label, [label]) for run in runs):
            raise OptionError(f"--only: {unknown_name(label, [run.label for run in runs])}")


def _asked(label: str, only: Sequence[str]) -> bool:
    """Whether `--only` names the run, or the study's run that several values made it one of."""
    return label in only or label.partition(",")[0] in only


def _refuse_what_a_study_sets(study: Plan, arguments: Sequence[str]) -> None:
    """A study is its runs: what they differ in, and the task its figures are of, cannot be said over."""
    own: set[str] = set()
    for arm in study.arms.values():
        own |= {flag_of(name) for name in arm if name != "options"} | {flag_of(key) for key in arm.get("options", {})}
    for word in arguments:
        flag = word.partition("=")[0]
        if flag in own | {"--task", "--bc-only", "--preset"}:
            raise OptionError(
                f"{flag}: the runs of study {study.name} set it; leave it out, or make the runs without --study"
            )
