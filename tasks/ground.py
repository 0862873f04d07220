"""What a known behaviour's policies are held against: contexts to act in, and fresh data there.

Axes: G contexts that are looked at one by one (one where the behaviour has none), m draws in each, O context, A action,
D what is compared: the action, or context and action side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tasks.behaviours.base import Behaviour
from tasks.behaviours.own import Recorded

#: draws of one law, and contexts times draws where the law depends on a context
SAMPLES, CONTEXTS, PER_CONTEXT = 4000, 16, 250


@dataclass(frozen=True)
class Ground:
    """`fresh` and `again`: two samples of the behaviour, the second to say how far fresh data are from fresh data."""

    obs: Tensor  # [G, m, O]
    fresh: Tensor  # [G, m, A]
    again: Tensor  # [G, m, A]
    #: contexts of `fresh`, where these and not the action alone are compared
    beside: Tensor | None = None  # [G, m, O]

    def seen(self, act: Tensor) -> Tensor:
        """What is compared of actions `[G, m, A]` taken in the contexts: `[G, m, D]`."""
        return act if self.beside is None else torch.cat([self.obs, act], -1)

    @property
    def shown(self) -> Tensor:
        """What it is compared with, `[G, m, D]`."""
        return self.fresh if self.beside is None else torch.cat([self.beside, self.fresh], -1)


def ground_of(behaviour: Behaviour, seed: int) -> Ground:
    """Contexts that are in no data, and fresh draws there."""
    if isinstance(behaviour, Recorded):
        return _of_file(behaviour)
    generator = torch.Generator().manual_seed(seed)
    groups, each = (CONTEXTS, PER_CONTEXT) if behaviour.conditional else (1, SAMPLES)
    obs = behaviour.contexts(groups, generator)[:, None].expand(groups, each, -1)
    rows = obs.reshape(groups * each, -1)
    fresh, again = (behaviour.sample(rows, generator).view(groups, each, -1) for _ in range(2))
    return Ground(obs, fresh, again)


def _of_file(behaviour: Recorded) -> Ground:
    """Of the rows kept for evaluation, in an order of their own, one half to act in and one to compare with."""
    order = torch.randperm(len(behaviour.held_out), generator=torch.Generator().manual_seed(0))
    rows = behaviour.held_out[order][: 2 * SAMPLES]
    half = len(rows) // 2
    obs, again = behaviour.pairs(rows[:half])
    beside, fresh = behaviour.pairs(rows[half : 2 * half])
    return Ground(obs[None], fresh[None], again[None], beside[None] if behaviour.conditional else None)
