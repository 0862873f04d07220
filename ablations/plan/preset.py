"""What a row of `ablations.plan.presets` says of a published method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.kinds import DENSE
from tasks.protocol import Row


@dataclass(frozen=True)
class RewardRule:
    """A transform of rewards (`tasks.transforms`) of a family of tasks with such rewards; `bodies`: if not of all."""

    family: str
    transform: str
    bodies: tuple[str, ...] = ()
    reward: str = DENSE


@dataclass(frozen=True)
class Preset:
    """`parts`: part -> name; `options` and `as_released`: `part.field` -> value (or part -> name, in the latter).

    `released_budget`: what `as_released` needs of the run, such as steps beyond a warm-up.
    `released_rewards`: what the released code does to rewards, by kind of task.
    `protocol`: published dataset -> what the paper set for it.
    `golden`: the file of `tests/golden` whose numbers, of the released code, hold `as_released` step for step.
    """

    parts: Mapping[str, str]
    paper: str
    note: str
    options: Mapping[str, Any] = field(default_factory=dict)
    as_released: Mapping[str, Any] = field(default_factory=dict)
    released_rewards: tuple[RewardRule, ...] = ()
    protocol: Mapping[str, Row] = field(default_factory=dict)
    released_budget: Mapping[str, Any] = field(default_factory=dict)
    golden: str | None = None


PARTS = ("policy", "regularizer", "improvement", "backup", "selection")


def parts(*names: str) -> dict[str, str]:
    """A name for each of PARTS, in their order."""
    return dict(zip(PARTS, names, strict=True))
