"""What a row of `ablations.presets` says of a published method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Preset:
    """`parts`: part -> name; `options` and `as_released`: `part.field` -> value (or part -> name, in the latter).

    `released_budget`: what `as_released` needs of the run, such as steps beyond a warm-up.
    `released_rewards`: what a task's name begins with -> the transform of its rewards in the released code.
    """

    parts: Mapping[str, str]
    paper: str
    note: str
    options: Mapping[str, Any] = field(default_factory=dict)
    as_released: Mapping[str, Any] = field(default_factory=dict)
    released_rewards: Mapping[str, str] = field(default_factory=dict)
    released_budget: Mapping[str, Any] = field(default_factory=dict)


PARTS = ("policy", "regularizer", "improvement", "backup", "selection")


def parts(*names: str) -> dict[str, str]:
    """A name for each of PARTS, in their order."""
    return dict(zip(PARTS, names, strict=True))
