"""A behaviour whose law is known: pi_b(a | s), sampled exactly, with its exact density where it has one.

Axes: n rows (a context and an action each), O context, A action, K modes. Tensors are float64 unless a caller gives
others; every function of an action is differentiable in it, so that a reward made of them can stand in for Q.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

#: dimensions of the context where there is nothing to say, as the released bandit has it
SILENT = 2


class Behaviour(ABC):
    """pi_b. Everything it draws lies in [-1, 1]^A, and its density is 0 elsewhere."""

    obs_dim: int = SILENT
    act_dim: int = 2
    #: whether the law depends on the context
    conditional: ClassVar[bool] = False
    #: whether `log_prob` is there
    has_density: ClassVar[bool] = True

    def contexts(self, count: int, generator: torch.Generator) -> Tensor:
        """So many contexts `[n, O]`, drawn anew; zeros where they say nothing."""
        return torch.zeros(count, self.obs_dim, dtype=torch.float64)

    @abstractmethod
    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        """One action for each context: `[n, O] -> [n, A]`."""

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        """log pi_b(a | s), `[n]`; -inf outside the support. Only where `has_density`."""
        raise NotImplementedError

    @abstractmethod
    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        """What the mode of each action is worth, from 0 to `rewards.HIGHEST`, `[n]`; between modes a smooth step."""

    @abstractmethod
    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        """How far each action is from the support, at most, `[n]`; 0 on it."""

    @abstractmethod
    def rarest(self, obs: Tensor) -> Tensor:
        """Where data are rarest: the centre of the mode of least weight, `[n, A]`."""

    def mode_weights(self, obs: Tensor) -> Tensor | None:
        """The weight of each mode `[n, K]`, 0 for one that a context has not; None where modes are not counted."""
        return None

    def mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        """The mode that each action is on, `[n]` int64; -1 where it is on none."""
        raise NotImplementedError


def draw_index(weights: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """An index for each row by its weights `[n | 1, K]`, `[n]`."""
    edges = weights.cumsum(-1)
    point = torch.rand(count, 1, generator=generator, dtype=torch.float64) * edges[:, -1:]
    return (point >= edges).sum(-1).clamp(max=weights.shape[-1] - 1)
