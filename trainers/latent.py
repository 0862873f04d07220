"""Improvement of a policy that chooses latents, by a critic of latents (DSRL, arXiv 2506.15799).

As in ColinQiyangLi/qam: Q_z(s, w) learns what Q says of the action that a latent becomes, at w ~ N(0, I), and no
gradient passes through that map,

    bonus = alpha log pi(z | s) - mean_k Q_z,k(s, z),    own = mean_k (Q_z,k(s, w) - Q_k(s, decode(s, w)))^2

pi is the density of the latents' choice before `scale`; alpha holds its entropy to a target. Each head of Q_z learns
one of Q's; where their numbers differ, each learns the mean of Q's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import option
from core.rng import Rng
from core.tracking import untracked
from core.types import TaskSpec, Transitions
from critics.ensemble import Critic, CriticConfig, Critics
from policies.base import LatentPolicy, Policy
from trainers.temperature import Temperature
from trainers.terms import ActorTerms, Improvement, Improver


@dataclass(frozen=True)
class LatentQ(Improvement):
    """alpha log pi(z | s) - Q_z(s, z) at the policy's latent z, Q_z a critic of latents learned beside (DSRL)."""

    needs_critic = True
    adds_bonus = True
    needs_latent = True
    learns = True

    entropy: float = option(-0.5, "to which the latents' choice is held, nats for each dimension")
    heads: int = option(2, "critics of latents", at_least=1)
    layer_norm: bool = option(False, "normalise the activations of their hidden layers")

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> LatentImprover:
        return LatentImprover(self, spec, network, init)


class LatentImprover(Improver):
    """The improvement with its critic of latents and its temperature."""

    def __init__(self, config: LatentQ, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.critic = Critic(CriticConfig(config.heads, config.layer_norm), spec, network, init)
        self.act_dim = spec.act_dim
        self.temperature = Temperature(len(init), config.entropy, spec.act_dim)

    def forward(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        assert isinstance(policy, LatentPolicy)
        latent, log_prob = policy.latent(batch.obs, rng)
        with untracked(self.critic):
            value = self.critic(batch.obs, latent).mean(1)
        bonus = self.temperature() * log_prob - value
        own = self.distillation(policy, critics, batch.obs, rng) + self.temperature.loss(log_prob)
        return ActorTerms(torch.ones_like(bonus), bonus, own)

    def distillation(self, policy: LatentPolicy, critics: Critics, obs: Tensor, rng: Rng) -> Tensor:
        """Squared error of the critic of latents at standard normal ones, mean over its heads, `[S, B]`."""
        drawn = rng.normal(obs.shape[1], self.act_dim)
        with torch.no_grad():
            target = critics.online(obs, policy.decode(obs, drawn))
        values = self.critic(obs, drawn)
        if values.shape[1] != target.shape[1]:
            target = target.mean(1, keepdim=True)
        return (values - target).square().mean(1)
