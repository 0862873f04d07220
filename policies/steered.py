"""Steered policy: an actor chooses the noise that a cloned policy carries to an action (DSRL, arXiv 2506.15799).

    a = transport_base(s, z),    z = scale tanh(u),    u ~ N(mean(s), deviation(s)^2)

The base learns by its own loss alone, and no gradient reaches it through a sample. The actor moves by nothing but an
improvement: `latent-q` goes by a critic of latents (DSRL), and one through samples differentiates the base's own steps.
So every action is one that the base gives for some noise at most `scale` from 0 in each dimension. Under behaviour
cloning alone the actor stays as initialised, and samples are not the base's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import nested, option
from core.rng import Rng
from core.tracking import untracked
from core.types import TaskSpec
from policies.base import LatentPolicy, Policy, PolicyConfig, TransportPolicy
from policies.densities import LOG_STD_MAX, LOG_STD_MIN, log_slope, normal_log_density
from policies.flow import FlowConfig


class SteeredPolicy(LatentPolicy):
    """Actor network `s -> mean and log-deviation of u` beside the base whose noise it chooses."""

    improvement_only = ("actor",)
    cloning_only = ("base",)

    def __init__(self, config: SteeredConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        base = config.base.build(spec, network, init)
        assert isinstance(base, TransportPolicy)
        self.config, self.act_dim, self.base = config, spec.act_dim, base
        self.actor = MLP((len(init),), spec.obs_dim, 2 * spec.act_dim, network, init)
        self._average: tuple[SteeredPolicy, ...] = ()

    @property
    def forwards_per_action(self) -> int:
        return self.base.forwards_per_action + 1

    def follow(self, average: Policy) -> None:
        if self.config.latents_of == "average":
            assert isinstance(average, SteeredPolicy)
            # in a tuple, so as not to become a part of this one
            self._average = (average,)

    def latent(self, obs: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs).chunk(2, dim=-1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        raw = mean + log_std.exp() * rng.normal(*mean.shape[1:])
        return self.config.scale * raw.tanh(), normal_log_density(raw, mean, log_std) - log_slope(raw)

    def decode(self, obs: Tensor, latent: Tensor) -> Tensor:
        (of,) = self._average or (self,)
        with untracked(of.base):
            return of.base.transport(obs, latent)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return self.base.bc_loss(obs, act, rng)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.decode(obs, self.latent(obs, rng)[0])


@dataclass(frozen=True)
class SteeredConfig(PolicyConfig):
    builds = SteeredPolicy

    base: PolicyConfig = nested(
        FlowConfig(),
        "policy class whose noise is chosen",
        part="policy",
        accepts=lambda config: config.transports,
        needs="a policy class that transports noise deterministically, such as flow, or diffusion with sampler ddim",
    )
    scale: float = option(1.0, "largest latent in each dimension; DSRL's is per task, 0.4 to 1.4", above=0)
    latents_of: str = option(
        "base", "what makes actions of latents: the base, or its average (DSRL in qam)", choices=("base", "average")
    )

    @property
    def reparameterised(self) -> bool:
        return self.base.reparameterised

    @property
    def follows_average(self) -> bool:
        return self.latents_of == "average" or super().follows_average
