"""Whether the fields of a plan have the types that they must have, wherever they come from."""

from __future__ import annotations

import dataclasses
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any

from ablations.plan.budget import Budget
from core.fusion import PRECISIONS
from core.names import is_name
from core.options import OptionError, unknown_name
from tasks import BACKENDS

WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "nothing"}
FLAGS = ("bc_only", "as_released", "skip_impossible")
TEXTS = ("critic_from", "question")
CHOICES: dict[str, tuple[str, ...]] = {"precision": tuple(PRECISIONS), "backend": tuple(BACKENDS)}


def refuse_mistyped(said: Mapping[str, Any]) -> None:
    """Raise `OptionError` for the first of a plan's fields whose value is of another type, or no name."""
    hints = typing.get_type_hints(Budget)
    for field in dataclasses.fields(Budget):
        hint = hints[field.name]
        kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint, type(None))
        _refuse(field.name, said[field.name], kinds)
    for name in FLAGS:
        _refuse(name, said[name], (bool,))
    for name in TEXTS:
        _refuse(name, said[name], (str, type(None)))
    for name, choices in CHOICES.items():
        if said[name] not in choices:
            raise OptionError(f"{name}: {unknown_name(reprlib.repr(said[name]), choices)}")
    for name in (said["name"], *said["arms"]):
        if name and not is_name(name):
            raise OptionError(
                f"{reprlib.repr(name)} cannot name a directory: no slash, no dot at its beginning, no line"
            )


def _refuse(name: str, value: Any, kinds: tuple[type, ...]) -> None:
    if type(value) not in kinds:
        wanted = " or ".join(WORDS[kind] for kind in kinds if kind is not type(None))
        raise OptionError(f"{name} must be {wanted}, got {reprlib.repr(value)}")
