"""What every reader of data asks of them before they are used; one line says what is wrong, where, and what is right.

A reader brings arrays and says where they come from (`source`: a file, an episode of it); what passes is what training
uses, float32 and finite after the cast. What may be meant, but seldom is, becomes a `doubt`: a line, and training goes
on. Axes: n transitions, N steps, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from core.memory import free_bytes
from core.options import OptionError

if TYPE_CHECKING:
    from tasks.d4rl_reader import QLearning

#: how far beyond its box an action may lie, as a share of half of it: rounding of a tanh or of a scaling
ACTION_SLACK = 1e-4
#: share of the free memory that data may take as they are declared; they are copied a few times on their way
MEMORY_SHARE = 0.25
#: how many times larger than its file a set may be, beyond `SMALL`; floats compress a few times, flags a thousand
LARGEST_RATIO, SMALL = 100, 64 << 20
#: fewer transitions than this are learned by heart
FEW = 1000


class BadFile(OptionError):
    """A dataset file cannot be used: one line with the file, the key and the index."""


def refuse(source: Any, key: str, array: np.ndarray, bad: np.ndarray, expected: str) -> None:
    """Raise `BadFile` that names the first entry of `array` for which `bad`, of its shape, is true, if any is."""
    if bad.any():
        index = np.unravel_index(int(bad.argmax()), bad.shape)
        place = ", ".join(str(int(i)) for i in index)
        others = int(bad.sum()) - 1
        more = f", and {others} more like it" if others else ""
        raise BadFile(f"{source}: {key}[{place}] is {array[index]}{more}; {expected}")


def as_used(source: Any, key: str, array: np.ndarray) -> np.ndarray:
    """The array in float32. Raises `BadFile` for numbers that are not finite, as they are or after the cast."""
    refuse(source, key, array, ~np.isfinite(array), "expected finite numbers")
    with np.errstate(over="ignore"):
        cast = array.astype(np.float32, copy=False)
    refuse(source, key, array, ~np.isfinite(cast), "expected numbers within float32, at most 3.4e38")
    return cast


def numeric(source: Any, key: str, array: Any, kinds: str = "biuf") -> np.ndarray:
    """An array of numbers whose dtype is of one of the `kinds`. Raises `BadFile` for others."""
    array = np.asarray(array)
    if array.dtype.kind not in kinds:
        wanted = "floating-point numbers" if kinds == "f" else "numbers or booleans"
        raise BadFile(f"{source}: {key} holds {array.dtype}, expected {wanted}")
    return array


def flags(source: Any, key: str, array: Any) -> np.ndarray:
    """Booleans, from 0 and 1 in any numeric type. Raises `BadFile` for others."""
    array = numeric(source, key, array)
    refuse(source, key, array, (array != 0) & (array != 1), "expected 0 or 1")
    return array.astype(bool)


def in_unit_box(
    source: Any, key: str, actions: np.ndarray, expected: str = "expected actions between -1 and 1"
) -> None:
    """Actions scaled to [-1, 1] lie in it, but for rounding. Raises `BadFile` for one that does not."""
    refuse(source, key, actions, ~(np.abs(actions) <= 1 + ACTION_SLACK), "expected actions between -1 and 1")


def scaled_actions(source: Any, key: str, actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Actions of the declared box `[low, high]` in [-1, 1], float32. Raises `BadFile` for one outside the box."""
    finite = numeric(source, key, actions)
    refuse(source, key, finite, ~np.isfinite(finite), "expected finite numbers")
    scaled = (finite - (high + low) / 2) / ((high - low) / 2)
    outside = ~(np.abs(scaled) <= 1 + ACTION_SLACK)
    if outside.any():
        column = int(np.argwhere(outside)[0][-1])
        refuse(source, key, finite, outside, f"expected it in the declared box, {low[column]} to {high[column]}")
    return scaled.astype(np.float32)


def of_size(source: Any, declared: int, stored: int) -> None:
    """Refuse what no memory holds, or no file of its size can mean, before anything is allocated.

    `declared`: bytes the data say they have; `stored`: bytes of their file.
    """
    if declared > SMALL + LARGEST_RATIO * stored:
        raise BadFile(
            f"{source}: declares {in_words(declared)} of data in a file of {in_words(stored)}; "
            f"expected at most {LARGEST_RATIO} times the file"
        )
    memory = int(MEMORY_SHARE * free_bytes())
    if declared > memory:
        raise BadFile(
            f"{source}: holds {in_words(declared)} of data; at most {in_words(memory)} fit this machine's memory"
        )


def in_words(size: int) -> str:
    """Bytes, readable: `12.3 MB`."""
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:.4g} {unit}"
        size /= 1000  # type: ignore[assignment]
    raise AssertionError("unreachable")


def checked(source: Any, data: QLearning) -> QLearning:
    """The transitions, checked once more as what they are for training. Raises `BadFile` for what cannot be."""
    count = len(data.rewards)
    if count < 1:
        raise BadFile(f"{source}: no transition in it; every step ends its episode")
    columns = {"observations": 2, "actions": 2, "rewards": 1, "next_observations": 2, "terminals": 1}
    for key, axes in columns.items():
        array = getattr(data, key)
        if array.ndim != axes or len(array) != count:
            raise BadFile(f"{source}: {key} has shape {array.shape}; expected {count} rows")
        as_used(source, key, array)
    if data.observations.shape != data.next_observations.shape:
        raise BadFile(f"{source}: next_observations has shape {data.next_observations.shape}, observations has another")
    in_unit_box(source, "actions", data.actions)
    return data


def doubts(data: QLearning) -> Iterator[str]:
    """What of the transitions is allowed and seldom meant, a clause each."""
    count = len(data.rewards)
    if count < FEW:
        yield f"it has {count} transitions, which a policy learns by heart; results say little about the method"
    constant = np.flatnonzero(np.ptp(data.observations, axis=0) == 0)
    if len(constant) == data.observations.shape[1]:
        yield "all observations are alike, so the policy cannot depend on them"
    elif len(constant):
        yield f"observation {_listed(constant)} never changes"
    still = np.flatnonzero(np.ptp(data.actions, axis=0) == 0)
    if len(still):
        yield f"action {_listed(still)} never changes"
    if np.ptp(data.rewards) == 0:
        yield f"all rewards are {data.rewards[0]:.4g}, so Q has nothing to prefer"
    if data.terminals.all():
        yield "every transition is terminal, so no value is ever taken one step ahead"
    elif len(first_rows(data)) == 1 and not data.terminals[-1]:
        yield "no episode ends in it: it reads as one long episode"


def first_rows(data: QLearning) -> np.ndarray:
    """The row at which each episode begins: as the source says, else as IQL cuts them (ikostrikov/implicit_q_learning).

    IQL begins one at the first row, and after a terminal one or one whose next observation is not the next row's.
    """
    if data.begins is not None:
        return data.begins
    jump = np.linalg.norm(data.observations[1:] - data.next_observations[:-1], axis=-1) > 1e-6
    return np.append(0, np.flatnonzero(jump | data.terminals[:-1]) + 1)


def _listed(places: np.ndarray) -> str:
    shown = ", ".join(map(str, places[:5]))
    return f"{shown} and {len(places) - 5} more" if len(places) > 5 else shown
