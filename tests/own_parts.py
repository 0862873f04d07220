"""Parts that a user might have in a file of their own, one of them broken on demand."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from core.networks import MLP
from core.options import option
from policies.base import Policy, PolicyConfig
from trainers.penalty import Penalty, PlainRegularizer


class UniformPolicy(Policy):
    """Uniform on a box around a centre."""

    def __init__(self, config, spec, network, init):
        super().__init__()
        self.width, self.broken = config.width, config.broken
        self.net = MLP((len(init),), spec.obs_dim, spec.act_dim, network, init)
        if self.broken == "forgets_a_module":
            self.spare = nn.Parameter(torch.zeros(len(init)))

    def bc_loss(self, obs, act, rng):
        loss = (self.net(obs).tanh() - act).square().mean(-1)
        return loss.mean(-1) if self.broken == "loss_of_a_batch" else loss

    def sample(self, obs, rng):
        centre = self.net(obs).tanh()
        if self.broken == "mixes_seeds":
            centre = centre - centre.mean(0)
        uniform = torch.rand_like(centre) if self.broken == "draws_elsewhere" else rng.uniform(*centre.shape[1:])
        actions = centre + self.width * (2 * uniform - 1)
        return 3 * actions if self.broken == "leaves_the_box" else actions.clamp(-1, 1)


@dataclass(frozen=True)
class UniformConfig(PolicyConfig):
    builds = UniformPolicy

    width: float = option(0.1, "half the side of the box", above=0)
    broken: str = option("no", "what of the contract it breaks")


@dataclass(frozen=True)
class Ridge(PlainRegularizer):
    """The square of one sample, meaned over A."""

    needs_reparameterised = True

    def __call__(self, policy, batch, rng):
        return Penalty(policy.sample(batch.obs, rng).square().mean(-1))
