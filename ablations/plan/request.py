"""What a command asks for, before any defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a command asks for, in its own terms and before any defaults.

    `names`: part or nested policy -> name; `options`: `part.field` -> value; `selections` and `resample` as written;
    `varied`: what of names and options sets it apart from the command's other requests.
    """

    task: str
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    selections: Sequence[str] = ()
    resample: Sequence[str] = ()
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    budget: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    preset: str | None = None
    as_released: bool = False
    label: str | None = None
    critic_from: str | None = None
    backend: str = "gymnasium"
    precision: str = "float32"
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
