"""What a word of the command line is read as. Each reader raises `ArgumentTypeError` for what it cannot read."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: of one range
MOST_SEEDS = 1000


def reads(kind: type) -> Callable[[str], Any]:
    """A reader of values of a type; of a whole number `1e5` is a way to write it."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            pass
        try:
            number = float(text)
            if kind is int and number.is_integer():
                return int(number)
        except ValueError:
            pass
        raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * (kind is int)}number")

    return read


class YesNo(argparse.Action):
    """`--x` and `--x yes` are true, `--x no` is false, and `--x yes no` is both, to be compared."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        for value in values:
            if value not in ("yes", "no"):
                raise argparse.ArgumentError(self, f"must be yes or no, got {value!r}")
        setattr(namespace, self.dest, [value == "yes" for value in values] or [True])


class Together(argparse.Action):
    """Values that are lists themselves, as one list."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        setattr(namespace, self.dest, [one for value in values for one in value])


def seeds(text: str) -> list[int]:
    """One seed, or a range `0-4` with both of its ends."""
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a seed; seeds are whole numbers from 0, or ranges such as 0-4"
        )
    if not dash:
        return [int(first)]
    if not 0 <= int(last) - int(first) < MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r}: a range goes up, by less than {MOST_SEEDS}")
    return list(range(int(first), int(last) + 1))


def directory(text: str) -> Path:
    """A path that ends in a name, as files lie beside it: `.` and `..` are spelled out. Raises as `path` does."""
    named = path(text)
    return named if named.name not in ("", "..") else named.resolve()


def path(text: str) -> Path:
    """A path as every library reads it: of `~`, that the shell left in `--out=~/x`, none is left.

    Raises `ArgumentTypeError` for the home of a user who is not there.
    """
    if text.startswith("~"):
        try:
            return Path(text).expanduser()
        except RuntimeError:
            raise argparse.ArgumentTypeError(
                f"{text!r}: no such user; write ./{text} for a directory so named"
            ) from None
    # pandas and matplotlib would take what is left of ./~/x for the home
    return Path(text) if not Path(text).parts[:1] or Path(text).parts[0][:1] != "~" else Path(text).absolute()


def seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0")
    return number


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text!r}")
    return int(text)
