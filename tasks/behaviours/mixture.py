"""Mixtures of Gaussians, each cut where `1 - TAIL` of it is: exact samples, exact density, compact support.

    p(a | s) = sum_k w_k N(a; mu_k, L L^T) 1[|L^-1 (a - mu_k)| <= r] / (1 - TAIL),   P(chi^2_A <= r^2) = 1 - TAIL

so that r is 4 deviations in two dimensions. A curve is a mixture of points along it, closer than their deviation.
Axes: n rows, K components, A action.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from scipy.stats import chi2
from torch import Tensor

from tasks.behaviours.base import Behaviour, draw_index
from tasks.behaviours.values import mode_values

#: of each Gaussian, the mass that is cut off: what lies beyond 4 deviations in two dimensions
TAIL = math.exp(-8)
#: numbers of one pass over rows and components
AT_ONCE = 2**22


def reach(dims: int) -> float:
    """r, in deviations: within it lies 1 - TAIL of a Gaussian of so many dimensions."""
    return math.sqrt(chi2.isf(TAIL, dims))


@dataclass(frozen=True)
class Components:
    """The Gaussians of each row; a leading axis of 1 is of all rows.

    `log_weights` `[n | 1, K]`, `means` `[n | 1, K, A]`, `std`, `axes` `[K, A, A]`: L / std where they are not round.
    """

    log_weights: Tensor
    means: Tensor
    std: float
    axes: Tensor | None = None

    def to(self, like: Tensor) -> Components:
        """In the precision and on the device of `like`."""
        axes = None if self.axes is None else self.axes.to(like)
        return Components(self.log_weights.to(like), self.means.to(like), self.std, axes)

    def squares(self, act: Tensor) -> Tensor:
        """|L^-1 (a - mu_k)|^2 of each action `[n, A]` to each component, `[n, K]`."""
        if self.axes is None and len(self.means) == 1:
            # the same without a gap for each pair and entry in memory
            apart = torch.cdist(act, self.means[0], compute_mode="donot_use_mm_for_euclid_dist")
            return (apart / self.std).square()
        gaps = (act[:, None] - self.means) / self.std
        if self.axes is not None:
            gaps = torch.einsum("kij,nkj->nki", torch.linalg.inv(self.axes), gaps)
        return gaps.square().sum(-1)

    @property
    def log_volume(self) -> Tensor | float:
        """log |det L|, `[K]` or of all."""
        dims = self.means.shape[-1]
        return dims * math.log(self.std) + (0.0 if self.axes is None else torch.linalg.slogdet(self.axes)[1])


class Mixture(Behaviour):
    """A mixture of `components`; `group` `[K]`: the mode each component belongs to, by default its own."""

    def __init__(self, components: Components, group: Tensor | None = None, values: Tensor | None = None):
        count, self.act_dim = components.means.shape[-2:]
        self._components = components
        self.reach = reach(self.act_dim)
        self.group = torch.arange(count) if group is None else group
        self.modes = int(self.group.max()) + 1
        self.values = mode_values(self.modes) if values is None else values

    def components(self, obs: Tensor) -> Components:
        """Of each context; here the same of all."""
        return self._components

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        parts, rows = self.components(obs), torch.arange(len(obs))
        index = draw_index(parts.log_weights.exp(), len(obs), generator)
        noise = cut_normal(len(obs), self.act_dim, self.reach, generator)
        if parts.axes is not None:
            noise = torch.einsum("nij,nj->ni", parts.axes[index], noise)
        return parts.means.expand(len(obs), -1, -1)[rows, index] + parts.std * noise

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._by_rows(self._log_prob, obs, act)

    def _log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        parts = self.components(obs).to(act)
        squares = parts.squares(act)
        logs = parts.log_weights - squares / 2 - parts.log_volume
        constant = self.act_dim / 2 * math.log(2 * math.pi) + math.log1p(-TAIL)
        return logs.masked_fill(squares > self.reach**2, -math.inf).logsumexp(-1) - constant

    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._by_rows(self._value, obs, act)

    def _value(self, obs: Tensor, act: Tensor) -> Tensor:
        parts = self.components(obs).to(act)
        # by the nearest, not by the likeliest: what an action is worth does not hang on how often it is taken
        there = parts.log_weights.masked_fill(parts.log_weights.isfinite(), 0.0)
        return (there - parts.squares(act) / 2).softmax(-1) @ self.values[self.group].to(act)

    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._by_rows(self._distance, obs, act)

    def _distance(self, obs: Tensor, act: Tensor) -> Tensor:
        parts = self.components(obs).to(act)
        absent = parts.log_weights.isneginf()
        nearest = parts.squares(act).masked_fill(absent, math.inf).amin(-1)
        # the root has no gradient at 0, and none is needed within reach
        return parts.std * (nearest.clamp(min=self.reach**2).sqrt() - self.reach)

    def rarest(self, obs: Tensor) -> Tensor:
        parts, weights = self.components(obs), self.mode_weights(obs)
        absent = weights.masked_fill(weights == 0, math.inf)
        # of modes alike the last
        last = self.modes - 1 - absent.flip(-1).argmin(-1)
        member = (self.group == last[:, None]).double().argmax(-1)
        return parts.means.expand(len(obs), -1, -1)[torch.arange(len(obs)), member.expand(len(obs))]

    def mode_weights(self, obs: Tensor) -> Tensor:
        weights = self.components(obs).log_weights.exp()
        sums = torch.zeros(len(weights), self.modes, dtype=weights.dtype)
        return sums.index_add(1, self.group, weights)

    def mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._by_rows(self._mode_of, obs, act)

    def _mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        parts = self.components(obs)
        squares = parts.squares(act).masked_fill(parts.log_weights.isneginf(), math.inf)
        nearest, index = squares.min(-1)
        return self.group[index].masked_fill(nearest > self.reach**2, -1)

    def _by_rows(self, of: Callable[[Tensor, Tensor], Tensor], obs: Tensor, act: Tensor) -> Tensor:
        """`of` over slices of the rows, so that memory does not grow with them."""
        step = max(1, AT_ONCE // (self._components.means.shape[-2] * self.act_dim))
        pairs = zip(obs.split(step), act.split(step), strict=True)
        return torch.cat([of(*pair) for pair in pairs])


def cut_normal(count: int, dims: int, radius: float, generator: torch.Generator) -> Tensor:
    """Standard normal draws within `radius`, `[n, A]`."""
    noise = torch.randn(count, dims, generator=generator, dtype=torch.float64)
    while True:
        beyond = noise.square().sum(-1) > radius**2
        if not beyond.any():
            return noise
        noise[beyond] = torch.randn(int(beyond.sum()), dims, generator=generator, dtype=torch.float64)
