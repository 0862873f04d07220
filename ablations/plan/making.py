"""From a plan to complete runs: its levels crossed, each run once, and what of it cannot be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ablations.plan import sense
from ablations.plan.config import RunConfig, choose
from ablations.plan.crossing import cross, make_runs, refuse_idle, refuse_repeats
from ablations.plan.parts import CHOICES, nested_defaults
from ablations.plan.plan import Plan
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from ablations.plan.values import fitting
from ablations.plan.views import selection_name
from core.options import OptionError, unknown_name
from policies import POLICIES
from tasks import make_task
from trainers import SELECTIONS


@dataclass(frozen=True)
class Made:
    """The runs of a plan, and a line for each kind of combination that was left out."""

    runs: tuple[RunConfig, ...]
    left_out: tuple[str, ...] = ()


def make(plan: Plan) -> Made:
    """All runs of a plan. Raises `OptionError` with one line for anything that cannot be."""
    runs: list[RunConfig] = []
    left_out: list[str] = []
    said: dict[str, None] = {}
    for label, command in plan.commands():
        requests, options = _requests(label, command)
        made, lines = make_runs(requests, command.skip_impossible)
        runs += [dataclasses.replace(run, varied=command.varied) for run in made] if command.varied else made
        left_out += lines
        # what an arm sets it may set though its run has no use for it, as a record does
        said |= dict.fromkeys(key for key in options if key in plan.options)
    if not runs:
        raise OptionError(left_out[0].partition(": ")[2])
    refuse_idle([*said, *(["backup"] if plan.backup else [])], runs)
    return Made(tuple(runs), tuple(left_out))


def together(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs of one comparison, each with the budget that the longest asks for."""
    longest = max((run.budget for run in runs), key=lambda budget: budget.steps)
    runs = [dataclasses.replace(run, budget=run.budget.as_long_as(longest)) for run in runs]
    sense.refuse_senseless(runs)
    return runs


def lengthened(runs: Sequence[RunConfig]) -> tuple[str, ...]:
    """A line that says so where `together` makes some runs longer than they would be alone; none where it does not."""
    longest = max(runs, key=lambda run: run.budget.steps)
    alone = {run.label: run.budget.steps for run in runs if run.budget.steps < longest.budget.steps}
    if not alone:
        return ()
    few = ", ".join(f"{label} {steps:,}" for label, steps in list(alone.items())[:3]) + ", ..." * (len(alone) > 3)
    said = f"all runs take {longest.budget.steps:,} steps, the default of {longest.label}; alone they would take: {few}"
    return (f"{said}; --steps sets it",)


def named(command: Plan) -> tuple[list[Request], set[str]]:
    """A request for each combination of presets, policy classes, other parts and policies inside policies.

    Returns also which options named those inside. Raises `OptionError` for names that are not known.
    """
    make_task(command.task, command.backend)
    _refuse_unknown(command)
    if command.as_released and not command.preset:
        raise OptionError("--as-released is of a preset; name one with --preset, or leave it out")
    refuse_repeats("--preset", command.preset)
    if command.as_released and not any(PRESETS[preset].as_released for preset in command.preset):
        raise OptionError(f"--as-released: of {', '.join(command.preset)} nothing is released otherwise; leave it out")
    policies = command.policy or (() if command.preset else ("diffusion",))
    chosen = {part: getattr(command, part) for part in CHOICES if part != "policy" and getattr(command, part)}
    if command.bc_only:
        chosen["improvement"] = ("none",)
    heads = [
        Request(command.task, preset=preset, as_released=command.as_released, backend=command.backend)
        for preset in command.preset or (None,)
    ]
    requests = cross(heads, "names", {**({"policy": policies} if policies else {}), **chosen})
    within: set[str] = set()
    while True:
        fields = nested_defaults(map(choose, requests))
        found = {key: command.options[key] for key in fields if key in command.options and key not in within}
        if not found:
            return requests, within
        for key, names in found.items():
            for name in names:
                if name not in POLICIES:
                    raise OptionError(f"--{key}: {unknown_name(str(name), POLICIES)}")
        requests = cross(requests, "names", found)
        within |= set(found)


def _requests(label: str | None, command: Plan) -> tuple[list[Request], dict[str, list[Any]]]:
    """The requests of one set of runs, and the options of parts among what it says."""
    for flag in ("seeds", "selection", "resample"):
        refuse_repeats(f"--{flag}", getattr(command, flag))
    requests, within = named(command)
    chosen = [choose(request) for request in requests]
    selections = map(selection_name, command.selection or [names["selection"] for names in chosen])
    said = {key: values for key, values in command.options.items() if key not in within}
    options = fitting(said, chosen, selections, make_task(command.task, command.backend).options)
    common: dict[str, Any] = {
        "budget": command.budget(),
        "selections": list(command.selection),
        "resample": list(command.resample),
        "seeds": tuple(command.seeds),
        "label": label,
        "critic_from": command.critic_from,
        "precision": command.precision,
    }
    crossed = cross(requests, "options", options)
    return [dataclasses.replace(request, **common) for request in crossed], options


def _refuse_unknown(command: Plan) -> None:
    registries = {**CHOICES, "preset": PRESETS, "selection": SELECTIONS}
    for factor, registry in registries.items():
        for level in getattr(command, factor):
            name = selection_name(level) if factor == "selection" else level
            if name not in registry:
                raise OptionError(f"--{factor}: {unknown_name(name, registry)}")
