"""Behaviours of two dimensions made of round or long modes: a lattice, a ring, a pinwheel, a checkerboard.

All fit the box exactly: the farthest mode's farthest point lies on its edge. The dial `separation` is the distance of
neighbouring modes in deviations of one of them (of the geometric mean, where they are long).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import OptionError, option
from tasks.bandits import CENTRES, REWARDS
from tasks.behaviours.base import Behaviour
from tasks.behaviours.config import BehaviourConfig, WeightedConfig, turned
from tasks.behaviours.mixture import Components, Mixture, reach
from tasks.behaviours.values import mode_values

REACH = reach(2)


def fitted(gap: float, separation: float, ratio: float) -> tuple[float, float]:
    """(radius, deviation) so that `gap` times the radius is `separation` deviations, and the modes reach the edge."""
    radius = 1 / (1 + REACH * math.sqrt(ratio) * gap / separation)
    return radius, radius * gap / separation


@dataclass(frozen=True)
class RingConfig(WeightedConfig):
    """Gaussians evenly spaced on a circle (8 by default); the first lies to the right, the next counter-clockwise."""

    modes: int = option(8, "Gaussians on the circle", at_least=1, at_most=64)
    separation: float = option(10.0, "distance of neighbouring modes, in deviations", at_least=1)
    anisotropy: float = option(1.0, "length of a mode along the circle over its width", at_least=1, at_most=20)

    def build(self) -> Mixture:
        angle = 2 * math.pi * torch.arange(self.modes, dtype=torch.float64) / self.modes
        # one mode stands in the middle
        gap = 2 * math.sin(math.pi / self.modes) if self.modes > 1 else 1.0
        radius, std = fitted(gap, self.separation, self.anisotropy)
        means = radius * (self.modes > 1) * torch.stack([angle.cos(), angle.sin()], -1)
        axes = turned(angle + math.pi / 2, self.anisotropy) if self.anisotropy != 1 else None
        return Mixture(Components(self.log_weights(self.modes), means[None], std, axes))


@dataclass(frozen=True)
class GridConfig(WeightedConfig):
    """Gaussians on a square lattice (25 by default)."""

    modes: int = option(25, "Gaussians, a square number", at_least=4, at_most=400)
    separation: float = option(10.0, "distance of neighbouring modes, in deviations", at_least=1)
    anisotropy: float = option(1.0, "length of a mode along the diagonal over its width", at_least=1, at_most=20)

    def __post_init__(self) -> None:
        super().__post_init__()
        side = math.isqrt(self.modes)
        if side**2 != self.modes:
            raise OptionError(
                f"modes must be a square number, as {side**2} or {(side + 1) ** 2}, where they lie on a grid; got "
                f"{self.modes}"
            )

    def build(self) -> Mixture:
        side = math.isqrt(self.modes)
        radius, std = fitted(2 / (side - 1), self.separation, self.anisotropy)
        line = torch.linspace(-radius, radius, side, dtype=torch.float64)
        axes = turned(torch.full((self.modes,), math.pi / 4).double(), self.anisotropy)
        return Mixture(
            Components(
                self.log_weights(self.modes),
                torch.cartesian_prod(line, line)[None],
                std,
                axes if self.anisotropy != 1 else None,
            )
        )


@dataclass(frozen=True)
class CornersConfig(WeightedConfig):
    """Diffusion-QL's four modes with its values; `bandit` itself has the released draws and no options."""

    separation: float = option(32.0, "distance of neighbouring modes, in deviations (released: 32)", at_least=1)
    anisotropy: float = option(1.0, "length of a mode along the diagonal over its width", at_least=1, at_most=20)

    def build(self) -> Mixture:
        radius, std = fitted(2, self.separation, self.anisotropy)
        means = radius * CENTRES.sign()
        axes = turned(torch.full((4,), math.pi / 4).double(), self.anisotropy) if self.anisotropy != 1 else None
        return Mixture(Components(self.log_weights(4), means[None], std, axes), values=REWARDS)


class Twisted(Mixture):
    """A mixture of the plane, turned by `rate` times the distance from the middle, which keeps areas."""

    def __init__(self, components: Components, rate: float):
        super().__init__(components)
        self.rate = rate

    def _turn(self, act: Tensor, sign: int) -> Tensor:
        # the root has no gradient at 0
        angle = sign * self.rate * act.square().sum(-1).clamp(min=1e-12).sqrt()
        x, y = act.unbind(-1)
        return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], -1)

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self._turn(super().sample(obs, generator), 1)

    def rarest(self, obs: Tensor) -> Tensor:
        return self._turn(super().rarest(obs), 1)

    def _log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        return super()._log_prob(obs, self._turn(act, -1))

    def _value(self, obs: Tensor, act: Tensor) -> Tensor:
        return super()._value(obs, self._turn(act, -1))

    def _distance(self, obs: Tensor, act: Tensor) -> Tensor:
        return super()._distance(obs, self._turn(act, -1))

    def _mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        return super()._mode_of(obs, self._turn(act, -1))


@dataclass(frozen=True)
class PinwheelConfig(WeightedConfig):
    """Arms that bend (after Johnson et al. 2016, arXiv 1603.06277): long Gaussians, turned the more the farther out."""

    modes: int = option(5, "arms", at_least=2, at_most=24)
    twist: float = option(2.5, "radians that an arm turns from the middle to the edge")

    def build(self) -> Mixture:
        angle = 2 * math.pi * torch.arange(self.modes, dtype=torch.float64) / self.modes
        # long and thin enough that arms of the default do not meet
        std, ratio = 0.05, 4.0
        radius = 0.95 - REACH * std * math.sqrt(ratio)
        means = radius * torch.stack([angle.cos(), angle.sin()], -1)
        return Twisted(Components(self.log_weights(self.modes), means[None], std, turned(angle, ratio)), self.twist)


class Checkerboard(Behaviour):
    """Uniform over every other square of a board: hard edges. Axes: K squares that hold data."""

    def __init__(self, side: int):
        self.width = 2 / side
        cells = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        self.low = -1 + self.width * cells[cells.sum(1) % 2 == 0].double()
        self.values = mode_values(len(self.low))

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        index = torch.randint(len(self.low), (len(obs),), generator=generator)
        return self.low[index] + self.width * torch.rand(len(obs), 2, generator=generator, dtype=torch.float64)

    def _outside(self, act: Tensor) -> Tensor:
        """Distance to each square, `[n, K]`; the root is taken where it has a gradient."""
        low = self.low.to(act)
        gap = (low - act[:, None]).clamp(min=0) + (act[:, None] - low - self.width).clamp(min=0)
        squares = gap.square().sum(-1)
        return torch.where(squares > 0, squares.clamp(min=1e-24).sqrt(), 0.0)

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        area = len(self.low) * self.width**2
        return torch.where(self._outside(act).amin(-1) == 0, -math.log(area), -math.inf).to(act)

    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        # a step as sharp as a tenth of a square
        return (-10 * self._outside(act) / self.width).softmax(-1) @ self.values.to(act)

    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        return self._outside(act).amin(-1)

    def rarest(self, obs: Tensor) -> Tensor:
        return (self.low[-1] + self.width / 2).expand(len(obs), 2)

    def mode_weights(self, obs: Tensor) -> Tensor:
        return torch.full((1, len(self.low)), 1 / len(self.low), dtype=torch.float64)

    def mode_of(self, obs: Tensor, act: Tensor) -> Tensor:
        nearest, index = self._outside(act).min(-1)
        return index.masked_fill(nearest > 0, -1)


@dataclass(frozen=True)
class CheckerboardConfig(BehaviourConfig):
    """Uniform over every other square of a board (8 squares of 4 x 4 by default)."""

    side: int = option(4, "squares along an edge of the board", at_least=2, at_most=20)

    def build(self) -> Checkerboard:
        return Checkerboard(self.side)
