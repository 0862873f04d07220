"""A regularizer for any policy by samples: a behaviour diffusion's own loss at the policy's action (DTQL, 2405.19690).

With a' ~ pi(s), and L the behaviour's loss of cloning, that is of denoising a' at a random level (eq. 6 there),

    value = L(phi; s, a') + cloning * L_BC(theta; s, a),      gradient through a' alone, the behaviour's phi held fixed.

L is small where the behaviour has learned to denoise, so the policy may go where the data are dense and is not asked to
cover them: one mode is enough. `cloning` adds the policy's own loss at the data's action (DTQL on antmaze: its
log-likelihood), which asks for that. The behaviour is trained beside by L at the data's actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from core.networks import NetworkConfig
from core.options import nested, option
from core.rng import Rng
from core.tracking import untracked
from core.types import TaskSpec, Transitions
from policies.base import DenoisingPolicy, Policy, PolicyConfig, VelocityPolicy
from trainers.divergences import build_behaviour
from trainers.penalty import Penalty, Regularizer, RegularizerConfig


@dataclass(frozen=True)
class TrustRegion(RegularizerConfig):
    """The loss of a behaviour diffusion, or flow, at the policy's action (DTQL, arXiv 2405.19690, eq. 6)."""

    needs_reparameterised = True

    cloning: float = option(0.0, "weight, beside it, of the policy's own loss at the data's action", at_least=0)
    behaviour: PolicyConfig | None = nested(
        None,
        "policy class of the behaviour model trained beside",
        part="policy",
        accepts=lambda config: config is None or issubclass(config.builds, (DenoisingPolicy, VelocityPolicy)),
        needs="a policy class that denoises or follows a velocity",
        name="edm",
    )

    @property
    def needs_behaviour(self) -> bool:
        return True

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        return TrustInBehaviour(self.cloning, build_behaviour(self.behaviour, spec, network, init))


class TrustInBehaviour(nn.Module):
    """The regularizer with its behaviour model."""

    def __init__(self, cloning: float, behaviour: Policy):
        super().__init__()
        self.cloning, self.behaviour = cloning, behaviour

    def forward(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        act = policy.sample(batch.obs, rng)
        with untracked(self.behaviour):
            value = self.behaviour.bc_loss(batch.obs, act, rng)
        if self.cloning:
            value = value + self.cloning * policy.bc_loss(batch.obs, batch.act, rng)
        return Penalty(value, self.behaviour.bc_loss(batch.obs, batch.act, rng))
