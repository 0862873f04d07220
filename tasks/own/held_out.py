"""Policies judged by episodes that they were not trained on: how near their actions are to the recorded ones there.

At each held-out observation the policy takes one action; pairs (s, a) of both are compared, each column divided by its
deviation in the data. Axes: S seeds, n held-out transitions, O observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.rng import Rng
from tasks.base import Act
from tasks.d4rl_reader import QLearning
from tasks.measures.distances import energy_distance
from tasks.measures.neighbours import NEIGHBOURS, neighbourhoods
from tasks.transforms import Affine

#: rows that are compared, evenly spaced among those held out
MOST = 2000

MEANINGS = {
    "energy_distance": "between pairs of held-out observation and action, the policy's and the recorded; 0 is equal",
    "precision": "share of the policy's actions within the neighbourhoods of held-out pairs (k = 5)",
    "recall": "share of held-out pairs within the neighbourhoods of the policy's (k = 5)",
}


@dataclass(frozen=True)
class HeldOut:
    """What is kept apart, as policies see it, and the scales of its columns."""

    obs: Tensor  # [n, O], transformed as the training data
    act: Tensor  # [n, A]
    scale: Tensor  # [O + A]

    @classmethod
    def of(cls, data: QLearning, affine: Affine, training: QLearning) -> HeldOut:
        """Of the transitions kept apart; scales are those of the training data."""
        seen, columns = _rows(affine(data.observations)), _rows(affine(training.observations))
        scale = torch.cat([columns.std(0, correction=0), _rows(training.actions).std(0, correction=0)])
        # a column that never changes has no scale of its own
        return cls(seen, _rows(data.actions).clamp(-1, 1), scale.where(scale > 1e-6, 1.0))

    @property
    def few(self) -> Tensor:
        """At most `MOST` of the rows, evenly spaced."""
        step = -(-len(self.obs) // MOST)
        return torch.arange(0, len(self.obs), step)

    def measured(self, act: Act, rng: Rng, seeds: int, last: bool) -> dict[str, np.ndarray]:
        """Distances of S = `seeds` policies' actions from the recorded ones, `[S]` each."""
        rows, like = self.few, rng.normal(0)  # no draw: only the policy's device and precision
        obs = self.obs[rows]
        actions = act(obs.to(like).expand(seeds, -1, -1), rng).cpu().double()
        theirs = torch.cat([obs, self.act[rows]], 1) / self.scale
        each = [_compared(torch.cat([obs, ours], 1) / self.scale, theirs, last) for ours in actions]
        return {name: np.array([found[name] for found in each]) for name in each[0]}


def _compared(ours: Tensor, theirs: Tensor, last: bool) -> dict[str, float]:
    found = {"energy_distance": energy_distance(ours, theirs)}
    if last and len(ours) > NEIGHBOURS:
        near = neighbourhoods(ours, theirs)
        found |= {name: near[name] for name in ("precision", "recall")}
    return found


def _rows(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float64))
