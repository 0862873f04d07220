"""What a command means: the runs to make, where, and on what.

Parsing happens in steps: first the names of the parts, then the names inside them, then everything, with the options of
just those parts. So `--help` beside `--policy cvae` shows the CVAE's options, and an option of another part is named as
such.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ablations.arguments import explain_unknown, full_parser, names_parser, nested_defaults
from ablations.config import CHOICES, Budget, Request, RunConfig, choose, make_run
from ablations.studies import STUDIES
from core.options import OptionError


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A whole command: the runs to make, where, on what, and the study they belong to."""

    runs: list[RunConfig]
    out: Path
    device: torch.device
    compile: str
    study: str | None = None


def parse(arguments: Sequence[str]) -> Invocation:
    """The command's meaning, checked. Raises `OptionError` with one line for anything that cannot be used."""
    early, _ = names_parser().parse_known_args(arguments)
    if early.study is None:
        runs, known = _parse_runs(arguments, None)
    else:
        study = STUDIES[early.study]
        runs = []
        for label, own in study.runs.items():
            made, known = _parse_runs([*shlex.split(f"{study.common} {own}"), *arguments], label)
            runs += made
    name = early.study or f"{known.task}-{'-'.join(run.label for run in runs)}"
    out = known.out or Path("runs") / f"{name[:80]}-{time.strftime('%m%d-%H%M%S')}"
    return Invocation(runs, out, _device(known.device), known.compile, early.study)


def _parse_runs(arguments: Sequence[str], label: str | None) -> tuple[list[RunConfig], argparse.Namespace]:
    """One run for each policy class named, and all that was said."""
    early, _ = names_parser().parse_known_args(arguments)
    chosen = _chosen_parts(early)
    per_policy = [choose(early.task, {**chosen, "policy": policy}) for policy in early.policy]
    inner, _ = names_parser(nested_defaults(per_policy)).parse_known_args(arguments)
    within = {key: name for key, name in vars(inner).items() if "." in key and name is not None}
    per_policy = [{**names, **within} for names in per_policy]
    selections = early.selection or [per_policy[0]["selection"]]
    parser = full_parser(early.task, per_policy, selections)
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(explain_unknown(unknown[0], parser, per_policy, selections))
    for flag in ("policy", "seeds", "selection", "resample"):
        _refuse_repeats(f"--{flag}", getattr(known, flag))
    given = {
        name: value for name, value in vars(known).items() if "." in name and name not in within and value is not None
    }
    budget = {f.name: getattr(known, f.name) for f in dataclasses.fields(Budget) if getattr(known, f.name) is not None}
    requests = [
        Request(
            known.task,
            {**chosen, **within, "policy": policy},
            given,
            known.selection,
            known.resample,
            tuple(known.seeds),
            budget,
            label,
        )
        for policy in known.policy
    ]
    return [make_run(request) for request in requests], known


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
