"""A plan from a file beside which a command says more: what the command says wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ablations.plan.plan import Plan
from core.options import OptionError, flag_of


def without_parts(plan: Plan, parts: Collection[str]) -> Plan:
    """The plan without what it says of these parts, and of their options.

    Raises `OptionError` where its runs are of several, so that one named beside would be one for all.
    """
    if not parts:
        return plan
    if "preset" in parts and any("policy" in arm for arm in plan.arms.values()):
        raise OptionError("--preset: the file names the parts of its runs; leave it out")
    for part in parts:
        levels = sorted({str(arm.get(part)) for arm in plan.arms.values()})
        if len(levels) > 1:
            raise OptionError(f"{flag_of(part)}: the runs of the file differ in it ({', '.join(levels)}); leave it out")
    # how many episodes there are is the task's to say
    gone = {*parts, *(["eval_episodes"] if "task" in parts else [])}
    kept = {name: _other(name, value, parts) for name, value in vars(plan).items() if name not in gone}
    arms = {
        label: {name: _other(name, value, parts) for name, value in arm.items() if name not in gone}
        for label, arm in plan.arms.items()
    }
    if len(arms) == 1:
        # its label would name what it was
        arms = dict.fromkeys([""], *arms.values())
    return Plan(**{**kept, "arms": arms})


def without(plan: Plan, fields: Collection[str], options: Collection[str]) -> Plan:
    """The plan whose arms say nothing of these fields and options, so that what is common holds."""

    def shorter(arm: Mapping[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in arm.get("options", {}).items() if key not in options}
        return {**{name: value for name, value in arm.items() if name not in fields}, "options": own}

    return dataclasses.replace(plan, arms={label: shorter(arm) for label, arm in plan.arms.items()})


def _other(name: str, value: Any, parts: Collection[str]) -> Any:
    """Of options those of other parts; all else as it is."""
    if name != "options":
        return value
    gone = tuple(f"{part}." for part in parts)
    return {key: one for key, one in value.items() if not key.startswith(gone)}
