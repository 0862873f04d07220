"""Policies evaluated by episodes that they were not trained on: how near their actions are to the recorded ones there.

At each held-out observation the policy takes one action; pairs (s, a) of both are compared, each column divided by its
deviation in the data. Axes: S seeds, n held-out transitions, O observation, A action.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.rng import Rng
from core.types import Transitions
from tasks.base import Act
from tasks.d4rl_reader import QLearning
from tasks.measures.distances import energy_distance
from tasks.measures.neighbours import NEIGHBOURS, neighbourhoods
from tasks.transforms import Affine
from tasks.validation import first_rows

#: rows that are compared, evenly spaced among those held out
MOST = 2000

MEANINGS = {
    "energy_distance": "between pairs of held-out observation and action, the policy's and the recorded; 0 is equal",
    "precision": "share of the policy's actions within the neighbourhoods of held-out pairs (k = 5)",
    "recall": "share of held-out pairs within the neighbourhoods of the policy's (k = 5)",
    "bc_loss": "the class's own cloning loss of held-out transitions; not comparable between classes",
    "nll": "minus the log-density of held-out actions in nats, where the class has a density",
    "q_data": "the learned Q of held-out actions, mean",
    "q_policy": "the learned Q of the policy's actions at the same observations, mean",
    "fqe": "discounted return by fitted Q evaluation; unreliable, see docs/own-data.md",
    "fqe_data": "discounted return of the held-out episodes as they were recorded",
}


@dataclass(frozen=True)
class HeldOut:
    """What is kept apart, as policies see it, and the scales of its columns."""

    obs: Tensor  # [n, O], transformed as the training data
    act: Tensor  # [n, A]
    scale: Tensor  # [O + A]
    #: first observations of its episodes
    first: Tensor  # [e, O]
    #: discounted returns of these episodes, mean
    returned: float
    #: steps of fitted Q evaluation, 0 for none
    fqe_steps: int
    #: what is learned from, rewards as they are: transitions `[m, ...]` and their discounted returns `[m]`
    learned: Callable[[], tuple[Transitions, Tensor]]

    @classmethod
    def of(cls, data: QLearning, affine: Affine, training: QLearning, discount: float, fqe_steps: int) -> HeldOut:
        """Of the transitions kept apart; scales are those of the training data."""
        seen, columns = _rows(affine(data.observations)), _rows(affine(training.observations))
        scale = torch.cat([columns.std(0, correction=0), _rows(training.actions).std(0, correction=0)])
        # a column that never changes has no scale of its own
        scale = scale.where(scale > 1e-6, 1.0)
        begins = first_rows(data)
        returned = float(discounted_returns(data, discount)[begins].mean())
        learned = functools.partial(_transitions, training, affine, discount)
        actions = _rows(data.actions).clamp(-1, 1)
        return cls(seen, actions, scale, seen[torch.as_tensor(begins)], returned, fqe_steps, learned)

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


def _transitions(data: QLearning, affine: Affine, discount: float) -> tuple[Transitions, Tensor]:
    rows = Transitions(
        _rows(affine(data.observations)),
        _rows(data.actions),
        _rows(data.rewards),
        _rows(affine(data.next_observations)),
        _rows(discount * ~data.terminals),
    )
    return rows, _rows(discounted_returns(data, discount))


def discounted_returns(data: QLearning, discount: float) -> np.ndarray:
    """Of each transition `[n]`, to the end of its episode as it was recorded."""
    found = np.zeros(len(data.rewards))
    last = np.zeros(len(data.rewards), bool)
    last[np.append(first_rows(data)[1:], len(found)) - 1] = True
    ahead = 0.0
    for row in range(len(found) - 1, -1, -1):
        ahead = float(data.rewards[row]) + (0.0 if last[row] else discount * ahead)
        found[row] = ahead
    return found


def _rows(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float64))
