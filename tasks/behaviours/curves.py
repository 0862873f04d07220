"""Behaviours along curves: thin manifolds, in the plane and in many dimensions, as mixtures of points along them.

Neighbouring points are closer than half a deviation, so that the mixture is a tube around the curve (its density is
that of the mixture, exactly). Axes: K points, A action.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import option
from tasks.behaviours.config import REWARD_HELP, BehaviourConfig
from tasks.behaviours.mixture import Components, Mixture, reach
from tasks.behaviours.rewards import REWARDS

#: neighbouring points of a curve are at most this many deviations apart
SPACING = 0.5
#: lengths of curves are measured over so many pieces
PIECES = 2000


def along(curve: Tensor, spacing: float) -> Tensor:
    """Points evenly spaced by length along a finely sampled curve `[m, A]`, at most `spacing` apart, `[K, A]`."""
    lengths = (curve[1:] - curve[:-1]).norm(dim=-1).cumsum(0)
    lengths = torch.cat([torch.zeros(1).double(), lengths])
    count = math.ceil(float(lengths[-1]) / spacing) + 1
    where = torch.linspace(0, float(lengths[-1]), count, dtype=torch.float64)
    right = torch.searchsorted(lengths, where).clamp(1, len(lengths) - 1)
    part = (where - lengths[right - 1]) / (lengths[right] - lengths[right - 1])
    return torch.lerp(curve[right - 1], curve[right], part[:, None])


@dataclass(frozen=True)
class CurveConfig(BehaviourConfig):
    """Options of a behaviour along curves; a mode is a curve."""

    thickness: float = option(0.04, "deviation across the curve", at_least=0.01, at_most=0.15)

    @abstractmethod
    def curves(self) -> list[Tensor]:
        """Each curve, finely sampled, `[m, A]`, of any size."""

    def build(self) -> Mixture:
        curves = self.curves()
        low, high = torch.cat(curves).amin(0), torch.cat(curves).amax(0)
        half = (high - low).max() / 2
        scale = (1 - reach(curves[0].shape[1]) * self.thickness) / half
        points = [along((curve - (low + high) / 2) * scale, SPACING * self.thickness) for curve in curves]
        group = torch.cat([torch.full((len(of),), mode) for mode, of in enumerate(points)])
        means = torch.cat(points)
        weights = torch.full((1, len(means)), -math.log(len(means)), dtype=torch.float64)
        return Mixture(Components(weights, means[None], self.thickness), group)


def _turn(pieces: int = PIECES) -> Tensor:
    return torch.linspace(0, 1, pieces, dtype=torch.float64)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


@dataclass(frozen=True)
class MoonsConfig(CurveConfig):
    """Two half circles, each reaching into the other (scikit-learn's make_moons)."""

    def curves(self) -> list[Tensor]:
        angle = math.pi * _turn()
        upper = _polar(torch.ones_like(angle), angle)
        return [upper, torch.tensor([1.0, 0.5]) - upper]


@dataclass(frozen=True)
class RingsConfig(CurveConfig):
    """Circles, one in another, data in proportion to their lengths."""

    modes: int = option(3, "circles", at_least=1, at_most=8)

    def curves(self) -> list[Tensor]:
        angle = 2 * math.pi * _turn()
        return [_polar(torch.full_like(angle, k), angle) for k in range(1, self.modes + 1)]


@dataclass(frozen=True)
class SpiralsConfig(CurveConfig):
    """Spirals that wind around each other."""

    modes: int = option(2, "spirals", at_least=1, at_most=6)
    turns: float = option(1.5, "turns of each", above=0, at_most=4)

    def curves(self) -> list[Tensor]:
        t = 0.1 + 0.9 * _turn()
        shifts = [2 * math.pi * k / self.modes for k in range(self.modes)]
        return [_polar(t, 2 * math.pi * self.turns * t + shift) for shift in shifts]


@dataclass(frozen=True)
class SwissRollConfig(CurveConfig):
    """One spiral, as scikit-learn's make_swiss_roll from the side."""

    reward: str = option("linear", REWARD_HELP, choices=tuple(REWARDS))
    turns: float = option(1.5, "turns", above=0, at_most=4)

    def curves(self) -> list[Tensor]:
        angle = math.pi * (1.5 + 2 * self.turns * _turn())
        return [_polar(angle, angle)]


@dataclass(frozen=True)
class ManifoldConfig(CurveConfig):
    """A closed curve in many dimensions: entry d is a wave of 1, 2 or 3 periods, entries of one period out of step."""

    reward: str = option("linear", REWARD_HELP, choices=tuple(REWARDS))
    dims: int = option(8, "of the action (A)", at_least=2, at_most=24)

    def curves(self) -> list[Tensor]:
        angle = 2 * math.pi * _turn()
        return [torch.stack([(angle * (1 + d % 3) + d).sin() for d in range(self.dims)], -1)]
