"""What a command means: the runs to make, where, and on what.

Parsing happens in steps: first the names of the parts, then the names inside them, then everything, with the options of
just those parts. So `--help` beside `--policy cvae` shows the CVAE's options, and an option of another part is named as
such.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import shlex
import time
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ablations import frozen
from ablations.arguments import explain_unknown, full_parser, names_parser, nested_defaults
from ablations.budget import Budget, default_budget
from ablations.config import CHOICES, Request, RunConfig, choose, make_run, of_preset
from ablations.presets import PRESETS
from ablations.studies import STUDIES
from core.options import OptionError
from tasks import make_task


@dataclasses.dataclass(frozen=True)
class Invocation:
    """A whole command: the runs to make, where, on what, the study they belong to, and which of its runs to do now."""

    runs: list[RunConfig]
    out: Path
    device: torch.device
    compile: str
    seeds_at_once: int | None = None
    study: str | None = None
    only: tuple[str, ...] = ()


def parse(arguments: Sequence[str]) -> Invocation:
    """The command's meaning, checked. Raises `OptionError` with one line for anything that cannot be used."""
    early, _ = names_parser().parse_known_args(arguments)
    _refuse_unknown_only(early)
    if early.study is None:
        runs, known = _parse_runs(arguments, None)
    else:
        study = STUDIES[early.study]
        _refuse_what_a_study_sets(early.study, arguments)
        runs = []
        for label, own in study.runs.items():
            made, known = _parse_runs([*shlex.split(f"{study.common} {own}"), *arguments], label)
            runs += made
    name = early.study or f"{known.task.replace(':', '-')}-{'-'.join(run.label for run in runs)}"
    out = known.out or Path("runs") / f"{name[:80]}-{time.strftime('%m%d-%H%M%S')}"
    return Invocation(
        runs,
        out,
        _device(known.device),
        known.compile,
        known.seeds_at_once,
        early.study,
        tuple(early.only),
    )


def _parse_runs(arguments: Sequence[str], label: str | None) -> tuple[list[RunConfig], argparse.Namespace]:
    """One run for each policy class or preset named, and all that was said."""
    early, _ = names_parser().parse_known_args(arguments)
    requests = _named(early, _chosen_parts(early))
    inner, _ = names_parser(nested_defaults(map(choose, requests))).parse_known_args(arguments)
    within = {key: name for key, name in vars(inner).items() if "." in key and name is not None}
    requests = [dataclasses.replace(request, names={**request.names, **within}) for request in requests]
    chosen, first = [choose(request) for request in requests], requests[0]
    selections = early.selection or list(dict.fromkeys(names["selection"] for names in chosen))
    defaults = ChainMap(of_preset(first), dict(make_task(early.task, early.backend).defaults))
    parser = full_parser(chosen, selections, defaults, default_budget(first, chosen[0]))
    known, unknown = parser.parse_known_args(arguments)
    if unknown:
        raise OptionError(explain_unknown(unknown[0], parser, chosen, selections))
    for flag in ("policy", "preset", "seeds", "selection", "resample"):
        _refuse_repeats(f"--{flag}", getattr(known, flag))
    said = {name: value for name, value in vars(known).items() if value is not None}
    common = {
        "options": {name: value for name, value in said.items() if "." in name and name not in within},
        "budget": {field.name: said[field.name] for field in dataclasses.fields(Budget) if field.name in said},
        "selections": known.selection,
        "resample": known.resample,
        "seeds": tuple(known.seeds),
        "label": label,
        "critic_from": known.critic_from,
        "precision": known.precision,
    }
    runs = [make_run(dataclasses.replace(request, **common)) for request in requests]
    for run in runs:
        frozen.check(run)
    _refuse_idle([*common["options"], *(["backup"] if early.backup else [])], runs)
    # a comparison gives every run what the longest asks for
    longest = max((run.budget for run in runs), key=lambda budget: budget.steps)
    return [dataclasses.replace(run, budget=run.budget.as_long_as(longest)) for run in runs], known


def _named(early: argparse.Namespace, chosen: dict[str, str]) -> list[Request]:
    """A request for each policy class, for each preset, or for each preset with each policy class in it."""
    if early.as_released and not early.preset:
        raise OptionError("--as-released is of a preset; name one with --preset, or leave it out")
    policies = early.policy or ([None] if early.preset else ["diffusion"])
    if early.as_released and not any(PRESETS[preset].as_released for preset in early.preset):
        raise OptionError(f"--as-released: of {', '.join(early.preset)} nothing is released otherwise; leave it out")
    return [
        Request(
            early.task,
            {**chosen, **({"policy": policy} if policy else {})},
            preset=preset,
            as_released=early.as_released,
            backend=early.backend,
        )
        for preset in early.preset or [None]
        for policy in policies
    ]


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


def _refuse_unknown_only(early: argparse.Namespace) -> None:
    """`--only` names runs of a study."""
    if early.only and early.study is None:
        raise OptionError("--only is of a study; name one with --study, or leave it out")
    for label in early.only:
        known = STUDIES[early.study].runs
        if label not in known:
            close = difflib.get_close_matches(label, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise OptionError(f"--only: unknown {label!r}, choose from {', '.join(known)}{hint}")


def _refuse_idle(said: Sequence[str], runs: Sequence[RunConfig]) -> None:
    """An option of something that no run has would change nothing."""
    critic = any(run.needs_critic for run in runs)
    used = {
        ("backup", "critic.", "backup.", "trainer.tau"): (critic, "trains a critic"),
        ("trainer.bonus_",): (any(run.parts.improvement.adds_bonus for run in runs), "maximises Q"),
        ("trainer.ema_",): (
            critic and any(run.parts.backup.needs_policy for run in runs),
            "has a target policy: no backup asks one",
        ),
        ("regularizer.coef",): (any(run.names["regularizer"] != "none" for run in runs), "has a regularizer"),
    }
    for option in said:
        for prefixes, (has_use, what) in used.items():
            if option.startswith(prefixes) and not has_use:
                flag = f"--{option}".replace("_", "-")
                raise OptionError(f"{flag}: of {', '.join(run.label for run in runs)} none {what}; leave it out")


def _refuse_what_a_study_sets(name: str, arguments: Sequence[str]) -> None:
    """A study is its runs: what tells them apart, and the task its figures are of, cannot be said over."""
    own = {word for run in STUDIES[name].runs.values() for word in shlex.split(run) if word.startswith("--")}
    for word in arguments:
        flag = word.partition("=")[0]
        if flag in own | {"--task", "--bc-only", "--preset"}:
            raise OptionError(
                f"{flag}: the runs of study {name} set it; leave it out, or make the runs without --study"
            )


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
