"""Declared options: one field states its default, help, type, choices and bounds, and is checked when built.

A part of the testbed (a policy class, a regularizer, the trainer, ...) is configured by a frozen dataclass
deriving from `Options`. The command line, its help and its error messages are made from the same fields.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

#: of whole numbers
LARGEST = 2**31 - 1


class OptionError(ValueError):
    """A value the user gave cannot be used; the message names it and says what would be accepted."""


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[Any, ...] | None = None,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    sampling: bool = False,
    bare: Any = None,
) -> Any:
    """A dataclass field that carries its help text and its bounds.

    `sampling`: the option changes how a trained policy is sampled and nothing it learned, so that one trained policy
    can be evaluated under several values. `bare`: what the option means on the command line when no value follows it.
    """
    limits = {"choices": choices, "at_least": at_least, "above": above, "at_most": at_most}
    metadata = {"help": help, "limits": limits, "sampling": sampling, "bare": bare}
    return dataclasses.field(default=default, metadata=metadata)


def nested(default: Any, help: str, *, part: str, accepts: Callable[[Any], bool], needs: str, name: str = "") -> Any:
    """A dataclass field holding the whole configuration of another part.

    `part` names the kind of part and so where its names are looked up ("policy"); `accepts` says of a configuration
    whether it can stand here; `needs` is the same in words, for the message. `name` is what the command line chooses
    where nothing is said and `default` is None.
    """
    metadata = {"help": help, "nested": part, "accepts": accepts, "needs": needs, "name": name}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Options:
    """Base of all configurations: every field declared with `option` is checked on construction."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if "nested" in field.metadata and not field.metadata["accepts"](value):
                raise OptionError(f"{field.name} must be {field.metadata['needs']}")
            problem = _violation(value, field.metadata["limits"]) if "limits" in field.metadata else None
            if problem:
                raise OptionError(f"{field.name} {problem}, got {value!r}")


def _violation(value: Any, limits: Any) -> str | None:
    if limits["choices"] is not None and value is not None and value not in limits["choices"]:
        return "must be one of " + ", ".join(str(choice) for choice in limits["choices"])
    if not isinstance(value, int | float):
        return None
    if not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, int) and abs(value) > LARGEST:
        return f"must be at most {LARGEST}"
    if limits["at_least"] is not None and value < limits["at_least"]:
        return f"must be at least {limits['at_least']}"
    if limits["above"] is not None and value <= limits["above"]:
        return f"must be greater than {limits['above']}"
    if limits["at_most"] is not None and value > limits["at_most"]:
        return f"must be at most {limits['at_most']}"
    return None


def unknown_name(name: str, known: Iterable[str]) -> str:
    """What is wrong with a name, and what would be accepted."""
    accepted = list(known)
    close = difflib.get_close_matches(name, accepted, n=1)
    return f"unknown {name!r}, choose from {', '.join(accepted)}" + (f"; did you mean {close[0]}?" if close else "")


def first_line(error: Exception) -> str:
    """The first line of a message that says something, for a message of ours; the error's type where there is none."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def flag_of(key: str) -> str:
    """The flag of an option `part.field`, or of a part."""
    return f"--{key.replace('_', '-')}"


def written(value: Any) -> str:
    """A value as it is written on the command line."""
    return str({True: "yes", False: "no"}[value] if isinstance(value, bool) else value)


def dashed(error: OptionError) -> str:
    """The message, with the option it starts with as it is written on the command line."""
    option, _, rest = str(error).partition(" ")
    return f"{option.replace('_', '-')} {rest}"


def label_of(key: str, value: Any) -> str:
    """What a run's label says of an option by which it differs: `,policy.T=5`."""
    return f",{flag_of(key)[2:]}={written(value)}"
