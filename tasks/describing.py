"""What was loaded, in one block: how much there is, how episodes end, what ranges the numbers have, what looks odd.

Axes: n transitions, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from tasks.modality import modality
from tasks.transforms import episode_returns
from tasks.validation import doubts, first_rows

if TYPE_CHECKING:
    from tasks.d4rl_reader import QLearning

#: an action this close to -1 or 1 is at the bound
AT_BOUND = 1e-3
WIDTH = 14
#: what says nothing where every episode is one step
OF_EPISODES = ("lengths", "returns", "ends", "observations")


def block(name: str, data: QLearning, one_step: bool = False, more: Mapping[str, str] | None = None) -> str:
    """The lines that say what a task learns from, before any transform of rewards and observations.

    `more`: rows of the task's own.
    """
    rows = {**dict(_rows(data)), **(more or {})}
    if one_step:
        rows = {what: text for what, text in rows.items() if what not in OF_EPISODES}
        rows["transitions"] = f"{len(data.rewards):,} of one step"
    odd = (*data.notes, *(() if one_step else doubts(data)))
    lines = [f"{name}: what was loaded", *(f"  {what:{WIDTH}}{text}" for what, text in rows.items())]
    return "\n".join([*lines, *(f"  note: {doubt}" for doubt in odd)])


def _rows(data: QLearning) -> Iterator[tuple[str, str]]:
    count = len(data.rewards)
    begins = first_rows(data)
    lengths = np.diff(np.append(begins, count))
    yield "transitions", f"{count:,} in {len(begins):,} episode{'s' * (len(begins) > 1)}"
    yield "lengths", f"{_quartiles(lengths)} (smallest, quartiles, largest)"
    yield "returns", f"{_quartiles(episode_returns(data))} (undiscounted)"
    ends = np.append(begins[1:], count) - 1
    limits = (~data.terminals[ends]).sum()
    yield "ends", f"terminal {data.terminals.mean():.3%} of transitions, time limit or cut {limits / count:.3%}"
    yield "observations", f"{data.observations.shape[1]} columns, {_ranges(data.observations)}"
    bound = (np.abs(data.actions) >= 1 - AT_BOUND).mean()
    yield "actions", f"{data.actions.shape[1]} columns, {_ranges(data.actions)}, {bound:.2%} at the bounds"
    modes = modality(data)
    if modes is not None:
        yield "modes", modes.words
    yield "rewards", f"{_ranges(data.rewards[:, None])}, mean {data.rewards.mean(dtype=np.float64):.4g}"
    yield "duplicates", f"{_repeated(data):.2%} of transitions repeat the observation and action of another"


def _quartiles(values: np.ndarray) -> str:
    return " / ".join(f"{value:.5g}" for value in np.quantile(values, [0, 0.25, 0.5, 0.75, 1]))


def _ranges(columns: np.ndarray) -> str:
    deviations = columns.std(0, dtype=np.float64)
    spread = f"{deviations.min():.3g}" + (f" to {deviations.max():.3g}" if len(deviations) > 1 else "")
    return f"from {columns.min():.4g} to {columns.max():.4g}, deviation {spread}"


def _repeated(data: QLearning) -> float:
    """Share of rows of which an equal one came before; equal by a hash of 64 bits."""
    rows = np.concatenate([data.observations, data.actions], 1).astype(np.float32)
    words = np.ascontiguousarray(rows).view(np.uint32).astype(np.uint64)
    odd = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    hashes = (words * odd).sum(1, dtype=np.uint64)
    return 1 - len(np.unique(hashes)) / len(hashes)
