"""The box of a file's actions, which policies see as [-1, 1]. Axes: n transitions, A action."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.options import OptionError
from tasks.validation import ACTION_SLACK

#: `--task.bounds`: the smallest and largest action of each column
OF_DATA = "data"


@dataclass(frozen=True)
class Box:
    """Actions between `low` and `high`; `note`: how it was found, where nobody said."""

    low: np.ndarray  # [A]
    high: np.ndarray  # [A]
    note: str | None = None


def box_of(actions: np.ndarray, said: str | None) -> Box:
    """The box of actions `[n, A]`: as said, else [-1, 1] where they lie in it, else from smallest to largest.

    Raises `OptionError` for bounds that are none, or not of so many columns.
    """
    columns = actions.shape[1]
    if said is not None and said != OF_DATA:
        return _read(said, columns)
    within = bool((np.abs(actions) <= 1 + ACTION_SLACK).all())
    if said is None and within:
        return Box(-np.ones(columns), np.ones(columns))
    low, high = actions.min(0).astype(np.float64), actions.max(0).astype(np.float64)
    still = low == high
    low, high = np.where(still, low - 1, low), np.where(still, high + 1, high)
    ranges = ",".join(f"{a:.6g}:{b:.6g}" for a, b in zip(low[:4], high[:4], strict=True))
    more = ",..." if columns > 4 else ""
    note = f"actions lie beyond [-1, 1]; their bounds are taken from the data, --task.bounds={ranges}{more}"
    return Box(low, high, None if said else note)


def _read(said: str, columns: int) -> Box:
    """`-2:2` for all columns, or one pair for each, `-2:2,0:1`."""
    try:
        pairs = np.array([[float(bound) for bound in pair.split(":")] for pair in said.split(",")], np.float64)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise ValueError
    except ValueError:
        raise OptionError(
            f"--task.bounds: {said!r} is no LOW:HIGH; write --task.bounds=-2:2, one pair for each column "
            f"(--task.bounds=-2:2,0:1), or {OF_DATA}"
        ) from None
    if not np.isfinite(pairs).all() or (pairs[:, 0] >= pairs[:, 1]).any():
        raise OptionError(f"--task.bounds: {said!r}; expected finite numbers, each LOW below its HIGH")
    if len(pairs) not in (1, columns):
        raise OptionError(f"--task.bounds: {said!r} has {len(pairs)} pairs, and actions have {columns} columns")
    low, high = np.broadcast_to(pairs, (columns, 2)).T.copy()
    return Box(low, high)
