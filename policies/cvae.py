"""Conditional VAE policy, as in BCQ (arXiv 1812.02900, appendix D): the decoder's tanh keeps actions in [-1, 1].

L = mean_A (a - decoder(s, z))^2 + kl_weight * mean_Z KL(q(z | s, a) || N(0, I)), z ~ q by reparameterisation.
At test time z is a standard normal clipped to +-latent_clip, as released.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig

LOG_STD_MIN, LOG_STD_MAX = -4.0, 15.0


class CVAEPolicy(Policy):
    def __init__(self, config: CVAEConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        lead = (len(init),)
        self.kl_weight, self.latent_clip = config.kl_weight, config.latent_clip
        self.latent_dim = config.latent_per_action * spec.act_dim
        self.encoder = MLP(lead, spec.obs_dim + spec.act_dim, 2 * self.latent_dim, network, init)
        self.decoder = MLP(lead, spec.obs_dim + self.latent_dim, spec.act_dim, network, init)

    def decode(self, obs: Tensor, latent: Tensor) -> Tensor:
        """obs `[S, B, O]`, latent `[S, B, Z]` -> actions `[S, B, A]` in [-1, 1]."""
        return self.decoder(torch.cat([obs, latent], dim=-1)).tanh()

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        mean, log_std = self.encoder(torch.cat([obs, act], dim=-1)).chunk(2, dim=-1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        latent = mean + log_std.exp() * rng.normal(*mean.shape[1:])
        reconstruction = (self.decode(obs, latent) - act).square().mean(-1)
        divergence = -0.5 * (1 + 2 * log_std - mean.square() - (2 * log_std).exp()).mean(-1)
        return reconstruction + self.kl_weight * divergence

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        latent = rng.normal(obs.shape[1], self.latent_dim).clamp(-self.latent_clip, self.latent_clip)
        return self.decode(obs, latent)


@dataclass(frozen=True)
class CVAEConfig(PolicyConfig):
    builds = CVAEPolicy

    latent_per_action: int = option(2, "latent dimensions for each action dimension", at_least=1)
    latent_clip: float = option(0.5, "the latent is clipped to plus or minus this when sampling", above=0)
    kl_weight: float = option(0.5, "weight of the divergence in the loss", at_least=0)
