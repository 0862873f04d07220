"""Observations that are dictionaries, as the vector a policy takes: what is left out can be found in what is kept.

The boxes of the dictionary are looked at in a fixed order: `observation` first, then the others, `desired_goal` last.
A box is left out only if each of its columns is constant in the data, or is a column of a box that is kept. In
AntMaze the position is in `achieved_goal` alone, so it is kept; in PointMaze the observation has it too.
The vector has D4RL's order: `achieved_goal`, `observation`, others, `desired_goal`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.options import OptionError

Path = tuple[str, ...]
#: a column repeats another where they differ by no more: absolute, and as a share of its deviation (sensors have noise)
ABSOLUTE, RELATIVE = 1e-3, 1e-2
#: order in the vector; others are between the second and the last
FIRST, SECOND, LAST = "achieved_goal", "observation", "desired_goal"


def is_box(space: Any) -> bool:
    """Whether it is a vector of numbers."""
    return type(space).__name__ == "Box" and len(space.shape) == 1


def boxes(name: str, space: Any) -> dict[Path, Any]:
    """The vectors in a space by their path, () where it is one. Raises `OptionError` for what no vector can hold."""
    found = dict(_leaves(space, ()))
    odd = next((path for path, leaf in found.items() if not is_box(leaf)), None)
    if odd is not None or not found:
        raise OptionError(
            f"{name}: {'/'.join(odd or ()) or 'its observation'} is {found[odd] if odd is not None else space}; "
            "policies here take boxes of one dimension, alone or in a dictionary"
        )
    return found


def _leaves(space: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    inner = getattr(space, "spaces", None)
    if isinstance(inner, Mapping):
        for key in inner:
            yield from _leaves(inner[key], (*path, key))
    else:
        yield path, space


def _rank(path: Path) -> int:
    return {FIRST: 0, SECOND: 1, LAST: 3}.get(path[0] if path else SECOND, 2)


def kept(paths: list[Path], rows: Mapping[Path, np.ndarray]) -> tuple[Path, ...]:
    """The paths that make the vector, in its order, by the columns of `rows[path]` `[n, .]`.

    A goal that is one vector is always kept: other goals may be asked in an evaluation.
    """
    looked = sorted(paths, key=lambda path: (path[:1] not in ((), (SECOND,)), _rank(path)))
    chosen: list[Path] = []
    for path in looked:
        known = np.concatenate([rows[other] for other in chosen], 1) if chosen else np.empty((len(rows[path]), 0))
        if not chosen or path == (LAST,) or not _found_in(rows[path], known):
            chosen.append(path)
    return tuple(sorted(chosen, key=_rank))


def _found_in(columns: np.ndarray, known: np.ndarray) -> bool:
    for column in columns.T:
        near = ABSOLUTE + RELATIVE * column.std()
        if np.ptp(column) > near and not (np.abs(known - column[:, None]).max(0) <= near).any():
            return False
    return True
