"""Episodes kept apart from training, for evaluation: the same for every run and seed. Axes: n transitions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.d4rl_reader import QLearning
from tasks.validation import first_rows

SEED = 0


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows kept apart; what is to be said of them."""

    training: np.ndarray  # [.] rows, in order
    apart: np.ndarray  # [.] rows, in order
    words: str


def split(data: QLearning, share: float) -> Split:
    """A `share` of the episodes, drawn once; of a single episode its last transitions. Share 0 keeps none apart."""
    count, begins = len(data.rewards), first_rows(data)
    everything = np.arange(count)
    if share <= 0 or count < 2:
        return Split(everything, everything[:0], "nothing")
    if len(begins) == 1:
        first = min(max(1, round(count * (1 - share))), count - 1)
        words = f"{count - first:,} transitions, the last of the one episode there is"
        return Split(everything[:first], everything[first:], words)
    episodes = min(max(1, round(share * len(begins))), len(begins) - 1)
    chosen = np.random.default_rng(SEED).permutation(len(begins))[:episodes]
    number = np.searchsorted(begins, everything, side="right") - 1
    apart = np.isin(number, chosen)
    words = f"{apart.sum():,} transitions of {episodes:,} of {len(begins):,} episodes"
    return Split(everything[~apart], everything[apart], words)


def rows_of(data: QLearning, rows: np.ndarray) -> QLearning:
    """The transitions of these rows, in order, episodes as they are in the whole."""
    begins = first_rows(data)
    number = np.searchsorted(begins, rows, side="right") - 1
    starts = np.append(0, np.flatnonzero(np.diff(number)) + 1) if len(rows) else np.zeros(0, np.int64)
    return QLearning(
        data.observations[rows],
        data.actions[rows],
        data.rewards[rows],
        data.next_observations[rows],
        data.terminals[rows],
        None if data.next_actions is None else data.next_actions[rows],
        data.notes,
        starts,
    )
