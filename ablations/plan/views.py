"""Views: the ways in which one trained policy acts, each evaluated on the same weights.

A view is a selection (how an action is chosen among samples) and, for policies that can be sampled in several ways,
options of its sampler. On the command line a view is written `name` or `name:option=value,option=value`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.options import OptionError
from policies import PolicyConfig
from trainers import SELECTIONS
from trainers.selection import Selection

#: the sampler of a view that changes nothing
AS_TRAINED = "as trained"


@dataclass(frozen=True)
class View:
    """`policy` is the trained policy's configuration with this view's sampler; `None`: as trained."""

    selection_label: str
    selection: Selection
    sampler_label: str = AS_TRAINED
    policy: PolicyConfig | None = None

    @property
    def label(self) -> str:
        """Short name, unique among a run's views."""
        return self.selection_label if self.policy is None else f"{self.selection_label} @ {self.sampler_label}"

    def record(self) -> dict[str, Any]:
        """As plain data."""
        sampling = None if self.policy is None else dataclasses.asdict(self.policy)
        return {
            "label": self.label,
            "selection_label": self.selection_label,
            "sampler_label": self.sampler_label,
            "selection": dataclasses.asdict(self.selection),
            "policy": sampling,
        }


def make_views(
    selections: Sequence[str], resample: Sequence[str], policy: PolicyConfig, options: Mapping[str, Any]
) -> tuple[View, ...]:
    """Every selection with the trained sampler and with each of `resample`."""
    chosen = [(text, _selection(text, options)) for text in selections]
    resampled = [(text, _resampled(text, policy)) for text in resample]
    _refuse_same("--selection", chosen)
    _refuse_same("--resample", [(AS_TRAINED, policy), *resampled])
    samplers: list[tuple[str, PolicyConfig | None]] = [(AS_TRAINED, None), *resampled]
    return tuple(View(text, selection, sampler, twin) for sampler, twin in samplers for text, selection in chosen)


def _refuse_same(flag: str, named: Sequence[tuple[str, Any]]) -> None:
    """Raise `OptionError` where two texts mean one thing: it would be evaluated, and shown, twice."""
    for place, (text, meant) in enumerate(named):
        for before, other in named[:place]:
            if meant == other:
                raise OptionError(f"{flag}: {text} is {before!r} again; each may appear once")


def selection_name(text: str) -> str:
    """The name of a selection written `name` or `name:option=value,...`."""
    return text.partition(":")[0]


def _selection(text: str, options: Mapping[str, Any]) -> Selection:
    config = SELECTIONS[selection_name(text)]
    shared = {f.name: options[f"selection.{f.name}"] for f in _options(config) if f"selection.{f.name}" in options}
    own = _assignments(text.partition(":")[2], _options(config), f"--selection {text}")
    try:
        return config(**{**shared, **own})
    except OptionError as error:
        raise OptionError(f"--selection {text}: {error}") from None


def _resampled(text: str, policy: PolicyConfig) -> PolicyConfig:
    allowed = [f for f in _options(type(policy)) if f.metadata.get("sampling")]
    if not allowed:
        raise OptionError(f"--resample {text}: this policy class can be sampled in one way only; leave --resample out")
    chosen = _assignments(text, allowed, f"--resample {text}")
    if not chosen:
        raise OptionError(f"--resample {text!r}: empty; write option=value, of {', '.join(f.name for f in allowed)}")
    try:
        return dataclasses.replace(policy, **chosen)
    except OptionError as error:
        raise OptionError(f"--resample {text}: {error}") from None


def _options(config: type) -> list[dataclasses.Field]:
    return list(dataclasses.fields(config))


def _assignments(text: str, allowed: Iterable[dataclasses.Field], where: str) -> dict[str, Any]:
    """`a=1,b=x` as values of the allowed fields' types."""
    known = {f.name.replace("_", "-"): f for f in allowed}
    values = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not equals or name not in known:
            accepted = ", ".join(f"{name}=..." for name in known) or "no options"
            raise OptionError(f"{where}: {pair!r} is not one of {accepted}")
        values[known[name].name] = _parse(value, known[name], where)
    return values


def _parse(value: str, field: dataclasses.Field, where: str) -> Any:
    kind = str(field.type).partition(" ")[0]  # annotations are strings: "int | None"
    if kind == "bool":
        if value not in ("yes", "no"):
            raise OptionError(f"{where}: {field.name} must be yes or no, got {value!r}")
        return value == "yes"
    try:
        return {"int": int, "float": float, "str": str}[kind](value)
    except ValueError:
        raise OptionError(f"{where}: {field.name} must be of type {kind}, got {value!r}") from None
