"""Mean-flow policy: a network learns the mean velocity over a step of any length (Geng et al. 2025, arXiv 2505.13447).

On the path x_t = (1 - t) z + t a from noise z to an action a, the mean velocity u over a step of length d obeys

    x_{t+d} = x_t + d u(x_t, t, d, s),    u = v + d du/dt,    du/dt = v . grad_x u + (d/dt - d/dd) u,    v = a - z

(eq. 6 there, whose time runs from the action to the noise), so that one step from t = 0 of length 1 is a sample. The
derivative is one forward-mode pass, and what follows from it is taken as it is:

    L = w |u(x_t, t, d, s) - stopgrad (v + d du/dt)|^2,    w = 1 / (|error|^2 + 1e-3)^p.

With d = 0 this is flow matching. t and t + d are two uniform draws, or one for a share of the examples. On images p = 1
is published; here p = 0 by default, as weights that depend on the draw of a move the mean, and so the modes' shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import PolicyConfig
from policies.steps import StepPolicy

#: keeps the weight of a small error finite
FLOOR = 1e-3


class MeanFlowPolicy(StepPolicy):
    """Behaviour cloning by the identity between mean velocity and velocity."""

    def __init__(self, config: MeanFlowConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__(config.steps, spec, network, init)
        self.config = config

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        size, noise = act.shape[1], rng.normal(*act.shape[1:])
        first, second, coin = rng.uniform(size), rng.uniform(size), rng.uniform(size)
        t = torch.minimum(first, second)
        d = torch.where(coin < self.config.share, (first - second).abs(), 0.0)
        x = (1 - t[..., None]) * noise + t[..., None] * act
        target = self.target(x, t, d, act - noise, obs)
        error = (self.mean_velocity(x, t, d, obs) - target).square()
        weight = (error.detach().sum(-1) + FLOOR) ** -self.config.power
        return weight * error.mean(-1)

    def target(self, x: Tensor, t: Tensor, d: Tensor, velocity: Tensor, obs: Tensor) -> Tensor:
        """v + d du/dt at x `[S, B, A]`, t and d `[S, B]`, v `[S, B, A]`, with no graph behind it."""
        with torch.no_grad():
            ahead = (velocity, torch.ones_like(t), -torch.ones_like(d))
            slope = torch.func.jvp(lambda x, t, d: self.mean_velocity(x, t, d, obs), (x, t, d), ahead)[1]
            return (velocity + d[..., None] * slope).detach()


@dataclass(frozen=True)
class MeanFlowConfig(PolicyConfig):
    builds = MeanFlowPolicy

    steps: int = option(1, "steps of the sampler", at_least=1, sampling=True)
    share: float = option(
        0.5, "of the examples have a step of some length; the others match the flow", at_least=0, at_most=1
    )
    power: float = option(0.0, "weight of an example: its squared error to minus this power (images: 1)", at_least=0)
