"""Regularizers: what keeps the policy near the data, per example `[S, B]`. To add one: a class and an entry here."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from core.options import option
from core.rng import Rng
from core.types import Transitions
from policies.base import REDUCTIONS, Policy, over_dimensions
from trainers.divergences import KL, MMD, EnergyDistance
from trainers.penalty import Penalty, PlainRegularizer, Regularizer, RegularizerConfig
from trainers.scores import Score
from trainers.trust import TrustRegion

__all__ = ["REGULARIZERS", "NoRegularizer", "OwnBC", "Penalty", "Regularizer", "RegularizerConfig", "SquaredError"]


@dataclass(frozen=True)
class OwnBC(PlainRegularizer):
    """The policy class's own behaviour-cloning loss: noise prediction, likelihood, evidence bound, ..."""

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        return Penalty(policy.bc_loss(batch.obs, batch.act, rng))


@dataclass(frozen=True)
class SquaredError(PlainRegularizer):
    """mean_A (a - pi(s))^2 of one sample (TD3+BC, arXiv 2106.06860); with reduction sum, sum_A (ReBRAC, 2305.09836).

    Of a random policy this is |a - mean|^2 + variance, meaned over A: it draws the policy to one point for each state.
    """

    needs_reparameterised = True

    reduction: str = option("mean", "over the dimensions of an action", choices=REDUCTIONS)

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        return Penalty(over_dimensions((batch.act - policy.sample(batch.obs, rng)).square(), self.reduction))


@dataclass(frozen=True)
class NoRegularizer(PlainRegularizer):
    """Nothing: only the improvement moves the policy, and `coef` has no effect."""

    trains = False

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        return Penalty(torch.zeros_like(batch.reward))


REGULARIZERS: dict[str, type[RegularizerConfig]] = {
    "bc": OwnBC,
    "squared-error": SquaredError,
    "mmd": MMD,
    "energy-distance": EnergyDistance,
    "kl": KL,
    "score": Score,
    "trust-region": TrustRegion,
    "none": NoRegularizer,
}
