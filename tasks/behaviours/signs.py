"""Behaviours of many dimensions that differ in their joint alone: `product` and `parity`.

Entry d is s_d * CENTRE plus noise, s_d = +-1. Signs of `product` are independent: 2^A modes. Those of `parity` have an
even number of pluses: 2^(A-1) modes, and every A - 1 entries together are as under `product`. So a class that models
entries one by one, or in pairs, passes every test of marginals and fails the joint. Axes: n rows, A action.

    p(a) = prod_d (p_+ + p_-) / 2,   parity: the same times 1 + prod_d (p_- - p_+) / (p_- + p_+)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import option
from tasks.behaviours.base import Behaviour
from tasks.behaviours.config import BehaviourConfig
from tasks.behaviours.mixture import TAIL, cut_normal, reach
from tasks.behaviours.values import HIGHEST

#: modes are counted up to so many dimensions
COUNTED = 8


class Signs(Behaviour):
    """`parity`: whether the number of plus signs is even."""

    def __init__(self, dims: int, separation: float, parity: bool):
        self.act_dim, self.parity, self.reach = dims, parity, reach(1)
        # the modes of an entry, `separation` deviations apart, reach the edge
        self.centre = 1 / (1 + 2 * self.reach / separation)
        self.std = 2 * self.centre / separation

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        plus = torch.randint(2, (len(obs), self.act_dim), generator=generator)
        if self.parity:
            plus[:, -1] = plus[:, :-1].sum(-1) % 2
        noise = cut_normal(plus.numel(), 1, self.reach, generator).view(plus.shape)
        return self.centre * (2.0 * plus - 1) + self.std * noise

    def _of_entries(self, act: Tensor) -> tuple[Tensor, Tensor]:
        """p_- and p_+ of each entry, `[n, A]`."""
        scale = math.sqrt(2 * math.pi) * self.std * (1 - TAIL)
        found = []
        for sign in (-1, 1):
            gap = (act - sign * self.centre) / self.std
            density = (-gap.square() / 2).exp() / scale
            found.append(density.masked_fill(gap.abs() > self.reach, 0.0))
        return found[0], found[1]

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        minus, plus = self._of_entries(act)
        logs = ((minus + plus) / 2).log().sum(-1)
        if not self.parity:
            return logs
        ratio = ((minus - plus) / (minus + plus).clamp(min=1e-300)).prod(-1)
        return logs + (1 + ratio).log()

    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        """By its signs, entries counting 1 : 2 : ... : A; HIGHEST where all are as `best` says."""
        weights = torch.arange(1, self.act_dim + 1).to(act)
        signs = (self.centre * act / self.std**2).tanh()
        return HIGHEST * (1 + (signs * self._best().to(act)) @ weights / weights.sum()) / 2

    def _best(self) -> Tensor:
        """The signs worth most: plus and minus in turn, the first so that the number of pluses is even."""
        best = torch.tensor([(-1.0) ** d for d in range(self.act_dim)], dtype=torch.float64)
        best[0] = 1.0 if int((best[1:] > 0).sum()) % 2 else -1.0
        return best

    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        """To the nearest mode's box; of `parity` to the nearest of all that an even number of pluses has."""
        gaps = torch.stack([act + self.centre, act - self.centre], -1).abs() - self.reach * self.std
        squares = gaps.clamp(min=0).square()
        nearest, side = squares.min(-1)
        total = nearest.sum(-1)
        if self.parity:
            # the cheapest entry crosses over where the nearest signs are odd
            cross = (squares.amax(-1) - nearest).amin(-1)
            total = torch.where(side.sum(-1) % 2 == 1, total + cross, total)
        return torch.where(total > 0, total.clamp(min=1e-24).sqrt(), 0.0)

    def rarest(self, obs: Tensor) -> Tensor:
        return -self.centre * torch.ones(len(obs), self.act_dim, dtype=torch.float64)

    def mode_weights(self, obs: Tensor) -> Tensor | None:
        if self.act_dim > COUNTED:
            return None
        plus = torch.cartesian_prod(*[torch.arange(2)] * self.act_dim).sum(-1)
        there = (plus % 2 == 0) | (not self.parity)
        return (there.double() / there.sum())[None]

    def mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        plus = (act > 0).long()
        powers = 2 ** torch.arange(self.act_dim - 1, -1, -1)
        on = ((act.abs() - self.centre).abs() <= self.reach * self.std).all(-1)
        if self.parity:
            on &= plus.sum(-1) % 2 == 0
        return (plus @ powers).masked_fill(~on, -1)


@dataclass(frozen=True)
class ProductConfig(BehaviourConfig):
    """Two modes in each entry of the action, independent: 2^A modes."""

    dims: int = option(4, "of the action (A)", at_least=2, at_most=24)
    separation: float = option(10.0, "distance of the two modes of an entry, in deviations", at_least=1)

    def build(self) -> Signs:
        return Signs(self.dims, self.separation, parity=False)


@dataclass(frozen=True)
class ParityConfig(ProductConfig):
    """As product with an even number of positive entries: the same marginals and pairs, another joint."""

    def build(self) -> Signs:
        return Signs(self.dims, self.separation, parity=True)
