"""Contrastive energy prediction for guided sampling (QGPO, arXiv 2304.12824).

The density mu(a | s) exp(beta Q(s, a)), noised to x = alpha a + sigma z, is that of mu so noised times exp(E), with
E(x) = log E_mu[exp(beta Q(s, a)) | x] (theorem 3.1 there), which no gradient of Q at a clean action gives. A network
f(x, level, s) learns it from n actions of the policy for each state, noised at one level (eq. 12):

    own = -sum_i softmax_i(beta Q(s, a_i)) log softmax_i f(x_i, level, s)

whose minimum is E but for a constant of each state and level. The policy itself clones, and is neither weighed nor
moved; selection `energy-guided` adds the slope of f to the score in each step of its sampler. Q is the smallest target
head. Axes: n actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.time_features import TimeEmbedding
from core.types import TaskSpec, Transitions
from critics.candidates import values_of
from critics.ensemble import Critics, Energy
from policies.base import DenoisingPolicy, Policy, repeated
from trainers.terms import ActorTerms, Improvement, Improver

#: features of a level
FEATURES = 16


@dataclass(frozen=True)
class EnergyGuidance(Improvement):
    """An energy of noised actions, learned from Q over the policy's own samples, to guide its sampler (QGPO)."""

    needs_critic = True
    asks_target = True
    needs_denoiser = True
    learns = True
    gives_energy = True

    beta: float = option(3.0, "inverse temperature: samples are guided towards exp(beta Q)", at_least=0)
    samples: int = option(16, "actions of the policy for each state (n)", at_least=2)

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> EnergyImprover:
        return EnergyImprover(self, spec, network, init)


class NoisedEnergy(nn.Module):
    """Network `[x / |(alpha, sigma)|, features of log(alpha / sigma), s] -> f`."""

    def __init__(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        lead = (len(init),)
        self.time = TimeEmbedding(lead, FEATURES, init)
        self.net = MLP(lead, spec.act_dim + FEATURES + spec.obs_dim, 1, network, init)

    def forward(self, obs: Tensor, x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """obs `[S, B, O]`, x `[S, B, A]`, alpha and sigma `[S, B, 1]` -> `[S, B]`."""
        level = self.time((alpha / sigma).log().squeeze(-1))
        size = (alpha.square() + sigma.square()).sqrt()
        return self.net(torch.cat([x / size, level, obs], dim=-1)).squeeze(-1)


class EnergyImprover(Improver):
    """The improvement with its energy network."""

    def __init__(self, config: EnergyGuidance, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.config, self.net = config, NoisedEnergy(spec, network, init)

    @property
    def energy(self) -> Energy:
        return self.net

    def forward(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        assert isinstance(policy, DenoisingPolicy)
        with torch.no_grad():
            actions = policy.sample_each(batch.obs, self.config.samples, rng)
            label = (self.config.beta * values_of(critics.target, batch.obs, actions).amin(1)).softmax(-1)
            alpha, sigma = (repeated(level, actions.shape[2]) for level in policy.levels_drawn(batch.obs.shape[1], rng))
            flat = actions.flatten(1, 2)
            x = alpha * flat + sigma * rng.normal(*flat.shape[1:])
        found = self.net(repeated(batch.obs, actions.shape[2]), x, alpha, sigma).unflatten(1, (-1, actions.shape[2]))
        own = -(label * found.log_softmax(-1)).sum(-1)
        return ActorTerms(torch.ones_like(own), torch.zeros_like(own), own)
