"""What policies share whose network is told the length of the step that it takes from noise to an action.

On the path x_t = (1 - t) z + t a from noise z to an action a, x_{t+d} = x_t + d u(x_t, t, d, s). Such classes differ in
how u is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.rng import Rng
from core.types import TaskSpec
from policies.base import TransportPolicy


class StepPolicy(TransportPolicy):
    """Network `[x_t, t, d, s] -> u`, the mean velocity over a step; sampled in n steps of 1 / n, and clipped."""

    def __init__(self, steps: int, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.steps, self.act_dim = steps, spec.act_dim
        self.net = MLP((len(init),), spec.act_dim + 2 + spec.obs_dim, spec.act_dim, network, init)

    @property
    def forwards_per_action(self) -> int:
        return self.steps

    @property
    def told_length(self) -> float:
        """The length of a step of the sampler, as the network is told it."""
        return 1 / self.steps

    def mean_velocity(self, x: Tensor, t: Tensor, d: Tensor, obs: Tensor) -> Tensor:
        """x `[S, B, A]`, t and d `[S, B]`, obs `[S, B, O]` -> u `[S, B, A]`."""
        return self.net(torch.cat([x, t[..., None], d[..., None], obs], dim=-1))

    def transport(self, obs: Tensor, noise: Tensor) -> Tensor:
        x, length = noise, 1 / self.steps
        told = torch.full_like(noise[..., 0], self.told_length)
        for step in range(self.steps):
            x = x + length * self.mean_velocity(x, torch.full_like(told, step * length), told, obs)
        return x.clamp(-1, 1)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.transport(obs, rng.normal(obs.shape[1], self.act_dim))
