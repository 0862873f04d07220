"""A regularizer for any policy by samples: the score of a behaviour diffusion at the policy's own action.

SRPO (arXiv 2310.07297, eq. 9) follows the gradient of log mu, mu being the data's density given the state smoothed by
noise of a random level: with x = alpha a' + sigma z at the policy's action a' = pi(s),

    value = w(t) <eps(x, t, s), a'>,      gradient w(t) eps(x, t, s) d a' / d theta,

eps the behaviour's own prediction, held fixed: no gradient goes through the diffusion. w is sigma^2 (as in variational
score distillation), or alpha / sigma, with which it is the plain score. The behaviour model is trained beside by its
own loss, or is given and frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import nested, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from policies.base import DenoisingPolicy, Policy, PolicyConfig
from trainers.divergences import build_behaviour
from trainers.penalty import Penalty, Regularizer, RegularizerConfig


@dataclass(frozen=True)
class Score(RegularizerConfig):
    """The score of a behaviour diffusion at the policy's action (SRPO, arXiv 2310.07297, eq. 9)."""

    needs_reparameterised = True

    weight: str = option(
        "sigma-squared", "of each level: sigma^2, or alpha / sigma", choices=("sigma-squared", "signal-to-noise")
    )
    less_noise: bool = option(False, "take the drawn noise from the predicted one: the same mean, other variance")
    margin: float = option(0.02, "of a continuous time, left out at either end", at_least=0, at_most=0.4)
    behaviour: PolicyConfig | None = nested(
        None,
        "policy class of the behaviour model trained beside",
        part="policy",
        accepts=lambda config: config is None or issubclass(config.builds, DenoisingPolicy),
        needs="a policy class that denoises",
        name="sde",
    )

    @property
    def needs_behaviour(self) -> bool:
        return True

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        behaviour = build_behaviour(self.behaviour, spec, network, init)
        assert isinstance(behaviour, DenoisingPolicy)
        return ScoreOfBehaviour(self, behaviour)


class ScoreOfBehaviour(nn.Module):
    """The regularizer with its behaviour model."""

    def __init__(self, config: Score, behaviour: DenoisingPolicy):
        super().__init__()
        self.config, self.behaviour = config, behaviour
        #: the behaviour was trained elsewhere and takes no step
        self.frozen = False

    def forward(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        act = policy.sample(batch.obs, rng)
        with torch.no_grad():
            slope = self.slope(batch.obs, act, rng)
        value = (slope * act).sum(-1)
        return Penalty(value, None if self.frozen else self.behaviour.bc_loss(batch.obs, batch.act, rng))

    def slope(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        """The gradient of the value in the action, `[S, B, A]`."""
        said = self.behaviour.predict_noise(obs, act, rng, self.config.margin)
        squared = self.config.weight == "sigma-squared"
        weight = said.sigma.square() if squared else said.alpha / said.sigma
        return weight * (said.noise - said.drawn if self.config.less_noise else said.noise)
