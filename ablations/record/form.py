"""The form of a run's record and of a comparison's: what readers rely on, checked once, before anything is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ablations.record.integrity import FILES
from core.names import is_name

#: of the parts that tables and figures name
PARTS = ("policy", "regularizer", "improvement", "backup")


def problem_of_run(record: Mapping[str, Any]) -> str | None:
    """The first key of a run's record that is missing or has not its form; None where it has."""
    return next((key for key, has_form in RUN.items() if not has_form(record.get(key))), None) or next(
        (key for key, has_form in OPTIONAL.items() if key in record and not has_form(record[key])), None
    )


def problem_of_comparison(record: Mapping[str, Any]) -> str | None:
    """The same of a comparison's: `runs`, names of directories, each once, and `study`."""
    runs = record.get("runs")
    if not isinstance(runs, list) or not runs or not all(map(is_name, runs)) or len(set(runs)) < len(runs):
        return "runs"
    return "study" if not _text_or_none(record.get("study")) else None


def _text(value: object) -> bool:
    return isinstance(value, str)


def _text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapping(value: object) -> bool:
    return isinstance(value, dict)


def _seeds(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_whole, value)) and len(set(value)) == len(value)


def _names(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(value.get(part), str) for part in PARTS)


def _views(value: object) -> bool:
    keys = ("label", "selection_label", "sampler_label")
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(view, dict) and all(isinstance(view.get(key), str) for key in keys) for view in value)
    )


def _diverged(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and _whole(one.get("seed")) and _whole(one.get("step")) and _text(one.get("reason"))
        for one in value
    )


def _files(value: object) -> bool:
    return isinstance(value, dict) and all(is_name(name) and isinstance(of, str) for name, of in value.items())


def _flag(value: object) -> bool:
    return isinstance(value, bool)


RUN: Mapping[str, Callable[[object], bool]] = {
    "label": is_name,
    "task": _text,
    "names": _names,
    "seeds": _seeds,
    "views": _views,
    "interrupted": _flag,
}
#: what not every version wrote
OPTIONAL: Mapping[str, Callable[[object], bool]] = {
    "steps_done": _whole,
    "steps": _whole,
    "diverged": _diverged,
    "halted": lambda value: isinstance(value, list) and all(map(_whole, value)),
    "groups": lambda value: isinstance(value, list) and all(map(_seeds, value)),
    "environments": lambda value: isinstance(value, list) and all(map(_mapping, value)),
    "environment": _mapping,
    "options": _mapping,
    "varied": _mapping,
    "physics": _mapping,
    "backend": _text,
    "preset": _text_or_none,
    "seconds": lambda value: isinstance(value, int | float),
    FILES: _files,
}
