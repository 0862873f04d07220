"""Regularizers: what keeps the policy near the data, per example `[S, B]`."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from core.options import Options, option
from core.rng import Rng
from core.types import Transitions
from policies.base import Policy


@dataclass(frozen=True)
class Regularizer(Options):
    """A penalty, `coef` times which enters the actor's loss."""

    coef: float = option(1.0, "weight of the regularizer in the actor's loss", at_least=0)

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class OwnBC(Regularizer):
    """The policy class's own behaviour-cloning loss: noise prediction, likelihood, evidence bound, ..."""

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Tensor:
        return policy.bc_loss(batch.obs, batch.act, rng)


REGULARIZERS: dict[str, type[Regularizer]] = {"bc": OwnBC}
