"""Improvements: how Q enters the actor's loss, `mean_B(weight * coef * regularizer + bonus)`.

Axes: S seeds, B batch, K heads, n samples. To add one: a class and an entry in the dict below.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import OptionError, option
from core.rng import Rng
from core.types import Transitions
from critics.candidates import lower_bound, values_of
from critics.ensemble import Critics
from policies.base import DenoisingPolicy, Policy
from trainers.adjoint import AdjointMatching
from trainers.edits import EditData
from trainers.energy import EnergyGuidance
from trainers.guidance import ActionGradient, ScoreMatching, SoftGuidance
from trainers.latent import LatentQ
from trainers.terms import ActorTerms, Improvement

__all__ = ["IMPROVEMENTS", "ActorTerms", "Improvement"]


@dataclass(frozen=True)
class NoImprovement(Improvement):
    """Behaviour cloning alone."""

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        return ActorTerms(torch.ones_like(batch.reward), torch.zeros_like(batch.reward))


@dataclass(frozen=True)
class QBonus(Improvement):
    """-eta Q(s, a') / scale at an action a' that the policy's parameters reach.

    Q is one head, drawn for each seed by one coin a step, or the first, or the smallest or the mean of all, or their
    mean less rho deviations (lower-bound). The scale,
    through which no gradient passes, is mean_B |Q| of the same head or of the next (for two, the other) at the same
    actions, or of the same head at the data's actions, or 1. With any but 1 the reward's scale does not matter.
    """

    needs_critic = True
    adds_bonus = True

    eta: float = option(1.0, "weight of Q against the regularizer", at_least=0)
    normalizer: str = option(
        "other-head", "whose mean |Q| divides Q", choices=("other-head", "own-head", "dataset", "none")
    )
    head: str = option("coin", "which Q, of K", choices=("coin", "first", "min", "mean", "lower-bound"))
    rho: float = option(0.5, "deviations of the heads taken from their mean by head lower-bound", at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.normalizer == "other-head" and self.head not in ("coin", "first"):
            raise OptionError(
                f"normalizer must be own-head, dataset or none where head is {self.head}, got 'other-head'"
            )

    @abstractmethod
    def values(self, policy: Policy, critics: Critics, batch: Transitions, rng: Rng) -> Tensor:
        """Each head's value of the policy's action, `[S, K, B]`."""

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        values = self.values(policy, critics, batch, rng)
        pick = self._pick(values.shape[1], rng)
        bonus = -self.eta * pick(values, 0)
        if self.normalizer != "none":
            with torch.no_grad():
                measured = critics.online(batch.obs, batch.act) if self.normalizer == "dataset" else values
                scale = pick(measured, 1 if self.normalizer == "other-head" else 0).abs().mean(-1, keepdim=True)
            bonus = bonus / scale
        return ActorTerms(torch.ones_like(bonus), bonus)

    def _pick(self, heads: int, rng: Rng) -> Callable[[Tensor, int], Tensor]:
        """What makes `[S, B]` of values `[S, K, B]`; its second argument moves on so many heads."""
        if self.head == "min":
            return lambda values, _: values.amin(1)
        if self.head == "mean":
            return lambda values, _: values.mean(1)
        if self.head == "lower-bound":
            return lambda values, _: lower_bound(values, self.rho)
        if self.head == "first":
            return lambda values, ahead: values[:, ahead % heads]
        # a coin above 1/2 picks the first of two heads, as released
        chosen = ((1 - rng.uniform()) * heads).long().clamp(max=heads - 1)
        return lambda values, ahead: _head(values, (chosen + ahead) % heads)


def _head(values: Tensor, index: Tensor) -> Tensor:
    """Head `index` `[S]` of values `[S, K, B]`, as `[S, B]`."""
    return values[torch.arange(len(index), device=index.device), index]


@dataclass(frozen=True)
class QMax(QBonus):
    """Q at the policy's sample, with gradient through the sampler (Diffusion-QL, arXiv 2208.06193, eq. 3)."""

    needs_reparameterised = True

    samples: int = option(1, "samples of the policy whose Q is averaged (BEAR: 10)", at_least=1)

    def values(self, policy: Policy, critics: Critics, batch: Transitions, rng: Rng) -> Tensor:
        return values_of(critics.online, batch.obs, policy.sample_each(batch.obs, self.samples, rng)).mean(-1)


@dataclass(frozen=True)
class OneStep(QBonus):
    """Q at the clean action predicted in one step from a noised action of the data (EDP, arXiv 2305.20081).

    A gradient through one network pass instead of a chain. The noise is drawn apart from that of the regularizer; the
    released code uses one draw for both, which has the same expectation.
    """

    needs_denoiser = True

    normalizer: str = option(
        "own-head", "whose mean |Q| divides Q", choices=("other-head", "own-head", "dataset", "none")
    )

    def values(self, policy: Policy, critics: Critics, batch: Transitions, rng: Rng) -> Tensor:
        assert isinstance(policy, DenoisingPolicy)
        return critics.online(batch.obs, policy.predict_clean(batch.obs, batch.act, rng))


@dataclass(frozen=True)
class WeightedRegression(Improvement):
    """The regularizer weighted by f(A), A = min_k Q_k(s, a) - V(s) by the target heads, at the data's actions alone.

    - exp: min(exp(A / beta), clip) (AWR, arXiv 1910.00177; IQL, arXiv 2110.06169, eq. 7, whose beta is 1 / ours);
    - binary: 1 where A > 0 (CRR, arXiv 2006.15134, section 3);
    - expectile: `expectile` where A > 0, else 1 less it (IDQL, arXiv 2304.10573, as released).

    V is the backup's own where it has one, or the mean or largest min_k Q_k over n samples of the policy (CRR). The
    larger beta, the closer to behaviour cloning. No gradient passes through the weight.
    """

    needs_critic = True
    asks_target = True

    form: str = option("exp", "of the weight", choices=("exp", "binary", "expectile"))
    expectile: float = option(0.7, "weight of form expectile where A > 0", above=0, at_most=1)
    beta: float = option(1.0, "temperature: the advantage is divided by it", above=0)
    clip: float = option(100.0, "largest weight", above=0)
    baseline: str = option(
        "sample-mean",
        "V: the backup's own, or the mean or largest Q of the policy's samples",
        choices=("value", "sample-mean", "sample-max"),
    )
    samples: int = option(4, "samples of the policy for a baseline of samples (n)", at_least=1)
    normalize: bool = option(False, "divide the weights by their mean over the batch")

    @property
    def needs_value(self) -> bool:
        return self.baseline == "value"

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        with torch.no_grad():
            weight = self.weight(self._advantage(policy, critics, batch, rng))
        return ActorTerms(weight, torch.zeros_like(weight))

    def weight(self, advantage: Tensor) -> Tensor:
        """Of each advantage `[S, B]`; with `normalize`, its mean over B is 1 for each seed (or all are 0)."""
        if self.form == "binary":
            weight = (advantage > 0).to(advantage.dtype)
        elif self.form == "expectile":
            weight = torch.where(advantage > 0, self.expectile, 1 - self.expectile).to(advantage.dtype)
        else:
            weight = (advantage / self.beta).exp().clamp(max=self.clip)
        if self.normalize:
            weight = weight / weight.mean(-1, keepdim=True).clamp(min=torch.finfo(weight.dtype).tiny)
        return weight

    def _advantage(self, policy: Policy, critics: Critics, batch: Transitions, rng: Rng) -> Tensor:
        taken = critics.target(batch.obs, batch.act).amin(1)
        if self.baseline == "value":
            assert critics.value is not None
            return taken - critics.value(batch.obs)
        values = values_of(critics.target, batch.obs, policy.sample_each(batch.obs, self.samples, rng)).amin(1)
        return taken - (values.mean(-1) if self.baseline == "sample-mean" else values.amax(-1))


@dataclass(frozen=True)
class WeightedOneStep(WeightedRegression):
    """eta f(A) times -log N(a; x0, I) of the data's action, x0 the clean action predicted in one step (EDP with IQL).

    The regularizer stays unweighted beside it (arXiv 2305.20081, section 4.3, as released).
    """

    needs_denoiser = True
    adds_bonus = True

    eta: float = option(1.0, "weight against the regularizer", at_least=0)

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert isinstance(policy, DenoisingPolicy)
        weight = super().__call__(policy, critics, batch, rng).weight
        clean = policy.predict_clean(batch.obs, batch.act, rng)
        distance = (batch.act - clean).square().sum(-1)
        bonus = self.eta * weight * 0.5 * (distance + clean.shape[-1] * math.log(2 * math.pi))
        return ActorTerms(torch.ones_like(bonus), bonus)


IMPROVEMENTS: dict[str, type[Improvement]] = {
    "q-max": QMax,
    "one-step": OneStep,
    "weighted": WeightedRegression,
    "weighted-one-step": WeightedOneStep,
    "score-matching": ScoreMatching,
    "soft-guidance": SoftGuidance,
    "action-gradient": ActionGradient,
    "edit-data": EditData,
    "adjoint": AdjointMatching,
    "latent-q": LatentQ,
    "energy-guidance": EnergyGuidance,
    "none": NoImprovement,
}
