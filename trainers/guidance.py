"""Improvements by the gradient of Q in an action, held fixed: at the noised action, or at the policy's own.

Axes: S seeds, B batch, A action. The gradient is that of the mean of the target heads.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import option
from core.rng import Rng
from core.types import Transitions
from critics.ensemble import Critic, Critics
from policies.base import DenoisingPolicy, NoisePrediction, Policy
from trainers.terms import ActorTerms, Improvement


def action_gradient(critic: Critic, obs: Tensor, act: Tensor) -> Tensor:
    """The gradient of the heads' mean in the action, `[S, B, A]`, with no graph behind it."""
    with torch.enable_grad():
        leaf = act.detach().requires_grad_()
        return torch.autograd.grad(critic(obs, leaf).mean(1).sum(), leaf)[0]


@dataclass(frozen=True)
class AtNoisedAction(Improvement):
    """A bonus of the noise predicted in a noised action x and of g, the gradient of Q at x itself.

    Noise and its level are drawn as in the policy's own loss (--trainer.common-noise: the same ones).
    """

    needs_critic = True
    asks_target = True
    adds_bonus = True
    needs_denoiser = True

    @abstractmethod
    def bonus(self, said: NoisePrediction, gradient: Tensor) -> Tensor:
        """`[S, B]`, from the prediction at x and g `[S, B, A]`."""

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        assert isinstance(policy, DenoisingPolicy)
        said = policy.predict_noise(batch.obs, batch.act, rng)
        bonus = self.bonus(said, action_gradient(critics.target, batch.obs, said.x))
        return ActorTerms(torch.ones_like(bonus), bonus)


@dataclass(frozen=True)
class ScoreMatching(AtNoisedAction):
    """mean_A (-eta g - eps)^2: the noise is matched to the gradient of Q (QSM, arXiv 2312.11752, eq. 8).

    eps at level sigma is -sigma times a score, and QSM lets it be g whatever the level. As in ColinQiyangLi/qam, where
    the policy's own loss stays beside it (`regularizer.coef`).
    """

    eta: float = option(1.0, "scale of the gradient of Q (the inverse temperature)", at_least=0)

    def bonus(self, said: NoisePrediction, gradient: Tensor) -> Tensor:
        return (-self.eta * gradient - said.noise).square().mean(-1)


@dataclass(frozen=True)
class SoftGuidance(AtNoisedAction):
    """eta mean_A sigma g eps: the noise turns against the gradient of Q, the more the noisier (DAC, arXiv 2405.20555).

    With the own loss of a policy that predicts noise it has the minimum eps = noise - eta sigma g / (2 coef), which is
    guidance at x. Form `hard` has sigma 1, so that every level is turned alike.
    """

    eta: float = option(1.0, "weight of Q against the regularizer", at_least=0)
    form: str = option("soft", "soft: scaled by the noise of the level; hard: not", choices=("soft", "hard"))

    def bonus(self, said: NoisePrediction, gradient: Tensor) -> Tensor:
        turned = gradient * said.noise * (said.sigma if self.form == "soft" else 1.0)
        return self.eta * turned.mean(-1)


@dataclass(frozen=True)
class ActionGradient(Improvement):
    """-eta <g, a'> at the policy's sample a', g the gradient of Q there (SRPO, arXiv 2310.07297, eq. 8).

    Without `normalize` its gradient is that of -eta Q(a'). With it g is divided by the root of its mean square over the
    dimensions of the action, so that Q says where to go and not how strongly.
    """

    needs_critic = True
    asks_target = True
    adds_bonus = True
    needs_reparameterised = True

    eta: float = option(1.0, "weight of Q against the regularizer", at_least=0)
    normalize: bool = option(False, "every gradient of Q of the same size (SRPO's regq)")

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        act = policy.sample(batch.obs, rng)
        gradient = action_gradient(critics.target, batch.obs, act)
        if self.normalize:
            tiny = torch.finfo(gradient.dtype).tiny
            gradient = gradient / gradient.square().mean(-1, keepdim=True).sqrt().clamp(min=tiny)
        bonus = -self.eta * (gradient * act).sum(-1)
        return ActorTerms(torch.ones_like(bonus), bonus)
