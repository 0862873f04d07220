"""What every known behaviour's options have in common, and weights by their dials."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import OptionError, Options, option
from tasks.behaviours.base import Behaviour
from tasks.behaviours.rewards import REWARDS

REWARD_HELP = "what an action is worth (docs/tasks.md)"


@dataclass(frozen=True)
class BehaviourConfig(Options):
    """Options of a `bandit:NAME` task."""

    reward: str = option("as-released", REWARD_HELP, choices=tuple(REWARDS))
    reward_noise: float = option(0.5, "deviation of the rewards in the data around that", at_least=0)
    size: int = option(10_000, "transitions to learn from", at_least=100, at_most=10_000_000)

    def build(self) -> Behaviour:
        """The behaviour."""
        raise NotImplementedError


@dataclass(frozen=True)
class WeightedConfig(BehaviourConfig):
    """Options of a behaviour whose modes have weights."""

    weights: str = option("even", "of the modes: alike, or as 1 : 2 : 3 ...", choices=("even", "uneven"))
    rare: float | None = option(
        None, "weight of the last mode, the others sharing the rest (default: as weights says)", above=0, at_most=0.5
    )

    def log_weights(self, count: int) -> Tensor:
        """`[1, K]`. Raises `OptionError` for a rare mode beside no other."""
        if self.rare is not None and (count == 1 or self.weights != "even"):
            raise OptionError("rare must be left out where there is one mode, or weights is uneven")
        weights = torch.arange(1, count + 1).double() if self.weights == "uneven" else torch.ones(count).double()
        weights = weights / weights.sum()
        if self.rare is not None:
            weights = torch.full((count,), (1 - self.rare) / (count - 1), dtype=torch.float64)
            weights[-1] = self.rare
        return weights.log()[None]


def turned(angle: Tensor, ratio: float) -> Tensor:
    """Axes of a Gaussian, L / std: the long one along `angle` `[K]`, `ratio` times the short, the area kept."""
    cos, sin, root = angle.cos(), angle.sin(), math.sqrt(ratio)
    return torch.stack([torch.stack([cos * root, -sin / root], -1), torch.stack([sin * root, cos / root], -1)], -2)
