"""Improvements: how Q enters the actor's loss, `mean_B(weight * coef * regularizer + bonus)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from core.options import Options, option
from core.rng import Rng
from core.types import Transitions
from critics.ensemble import Critics
from policies.base import Policy


class ActorTerms(NamedTuple):
    """`weight` of the regularizer and `bonus` added to it, each `[S, B]`."""

    weight: Tensor
    bonus: Tensor


@dataclass(frozen=True)
class Improvement(Options):
    needs_critic: ClassVar[bool] = False
    #: whether it differentiates Q through the policy's samples
    needs_reparameterised: ClassVar[bool] = False

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        raise NotImplementedError


@dataclass(frozen=True)
class NoImprovement(Improvement):
    """Behaviour cloning alone."""

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        return ActorTerms(torch.ones_like(batch.reward), torch.zeros_like(batch.reward))


@dataclass(frozen=True)
class QMax(Improvement):
    """-eta Q_i(s, pi(s)) / mean_B |Q_j(s, pi(s))|, through the sampler (Diffusion-QL, eq. 3).

    Head i is drawn for each seed by one coin a step. The normaliser, through which no gradient passes, is
    another head at the same actions (as released: for two heads, the other), the same head, or 1.
    """

    needs_critic = True
    needs_reparameterised = True

    eta: float = option(1.0, "weight of Q against behaviour cloning", at_least=0)
    normalizer: str = option("other-head", "whose mean |Q| divides Q", choices=("other-head", "own-head", "none"))

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        values = critics.online(batch.obs, policy.sample(batch.obs, rng))
        heads = values.shape[1]
        # a coin above 1/2 picks the first of two heads, as released
        chosen = ((1 - rng.uniform()) * heads).long().clamp(max=heads - 1)
        bonus = -self.eta * _head(values, chosen)
        if self.normalizer != "none":
            scale = chosen if self.normalizer == "own-head" else (chosen + 1) % heads
            bonus = bonus / _head(values, scale).abs().mean(-1, keepdim=True).detach()
        return ActorTerms(torch.ones_like(bonus), bonus)


def _head(values: Tensor, index: Tensor) -> Tensor:
    """Head `index` `[S]` of values `[S, K, B]`, as `[S, B]`."""
    return values[torch.arange(len(index), device=index.device), index]


IMPROVEMENTS: dict[str, type[Improvement]] = {"q-max": QMax, "none": NoImprovement}
