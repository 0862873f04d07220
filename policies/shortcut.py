"""Shortcut policy: one network for a flow in many steps, in few, or in one (Frans et al. 2024, arXiv 2410.12557; SORL,
arXiv 2505.22866).

The network is told the length d of the step it is to take: x_{t+d} = x_t + d v(x_t, t, d, s). With d = 0 it is the
velocity of flow matching (policies/flow.py); one step of 2 d must go where two of d do, those taken as they are:

    L = |v(x_t, t, 0) - (a - z)|^2 + lambda |v(x_t, t, 2 d) - stopgrad (v(x_t, t, d') + v(x', t + d, d')) / 2|^2,
    x' = x_t + d v(x_t, t, d'),    x_t = (1 - t) z + t a,

d one of 1 / M, 2 / M, 4 / M, ... 1 / 2, each as likely, t any multiple of 2 d below 1, and d' = d, but 0 where d is the
least. The first term has a t of its own, uniform in [0, 1). Sampling takes n steps of 1 / n, and clips.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import PolicyConfig
from policies.steps import StepPolicy


class ShortcutPolicy(StepPolicy):
    """Told d = 0 where the step is the finest."""

    def __init__(self, config: ShortcutConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__(config.steps, spec, network, init)
        self.config = config

    @property
    def told_length(self) -> float:
        return 0.0 if self.steps == self.config.finest else super().told_length

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        noise, t = rng.normal(*act.shape[1:]), rng.uniform(act.shape[1])
        x = (1 - t[..., None]) * noise + t[..., None] * act
        matching = (self.mean_velocity(x, t, torch.zeros_like(t), obs) - (act - noise)).square().mean(-1)
        return matching + self.config.consistency * self.inconsistency(obs, act, rng)

    def inconsistency(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        """How far one step lands from two of half its length, squared, over its length; mean over dimensions."""
        finest, size = self.config.finest, act.shape[1]
        level = rng.integers(finest.bit_length() - 1, size)
        whole = 2.0 ** (level + 1).to(act.dtype) / finest
        t = (rng.uniform(size) / whole).floor() * whole
        noise = rng.normal(*act.shape[1:])
        x = (1 - t[..., None]) * noise + t[..., None] * act
        half = whole / 2
        told = torch.where(level > 0, half, 0.0)
        with torch.no_grad():
            first = self.mean_velocity(x, t, told, obs)
            second = self.mean_velocity(x + half[..., None] * first, t + half, told, obs)
        return (self.mean_velocity(x, t, whole, obs) - (first + second) / 2).square().mean(-1)


@dataclass(frozen=True)
class ShortcutConfig(PolicyConfig):
    builds = ShortcutPolicy

    steps: int = option(1, "steps of the sampler (n), a power of two up to finest", at_least=1, sampling=True)
    finest: int = option(8, "steps of the finest flow (M), a power of two", at_least=2, at_most=1024)
    consistency: float = option(1.0, "weight of the agreement of one step with two (lambda)", above=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "finest"):
            if getattr(self, name).bit_count() != 1:
                raise OptionError(f"{name} must be a power of two, got {getattr(self, name)}")
        if self.steps > self.finest:
            raise OptionError(f"steps must be at most finest = {self.finest}, got {self.steps}")
