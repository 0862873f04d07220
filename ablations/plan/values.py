"""Whether the options of a plan are those of its parts, and their values of the right type."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ablations.plan.parts import sections
from core.options import OptionError, Options, flag_of, unknown_name
from trainers import SELECTIONS


def fitting(
    options: Mapping[str, Sequence[Any]],
    chosen: Iterable[Mapping[str, str]],
    selections: Iterable[str],
    task: type[Options],
) -> dict[str, list[Any]]:
    """The options with values of their fields' types; `chosen`: the names of each combination's parts.

    Raises `OptionError` for an option that none of the parts has, and for a value of another type.
    """
    parts = {(prefix, name): config for names in chosen for prefix, name, config in sections(names, task)}
    parts |= {("selection", name): SELECTIONS[name] for name in selections}
    known: dict[str, type] = {}
    for (prefix, _), config in parts.items():
        hints = typing.get_type_hints(config)
        for field in dataclasses.fields(config):
            if "limits" in field.metadata:
                known.setdefault(f"{prefix}.{field.name}", hints[field.name])
    fitted = {}
    for key, values in options.items():
        if key not in known:
            raise OptionError(f"{flag_of(key)}: {unknown_name(key, known)}")
        fitted[key] = [_fitted(key, value, known[key]) for value in values]
    return fitted


def _fitted(key: str, value: Any, hint: Any) -> Any:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(value) in kinds or (value is None and type(None) in kinds):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and float in kinds:
        return float(value)
    if isinstance(value, float) and value.is_integer() and int in kinds:
        return int(value)
    names = {int: "a whole number", float: "a number", str: "a name", bool: "yes or no", type(None): "none"}
    raise OptionError(
        f"{flag_of(key)} must be {' or '.join(names.get(kind, str(kind)) for kind in kinds)}, got {value!r}"
    )
