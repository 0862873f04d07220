"""Regularizers: what keeps the policy near the data, per example `[S, B]`.

A regularizer without parameters is its own configuration; one with parameters (a learned multiplier, a behaviour model
trained beside) is a module that its configuration builds, and states the loss of those parameters as `own`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import Options, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from policies.base import Policy


class Penalty(NamedTuple):
    """`value` `[S, B]` enters the actor's loss; `own` `[S, B]` is the loss of the regularizer's own parameters."""

    value: Tensor
    own: Tensor | None = None


class Regularizer(Protocol):
    """Called once for each actor step. `own` must share no graph with `value`: the trainer descends each alone."""

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty: ...


@dataclass(frozen=True)
class RegularizerConfig(Options):
    """The options of a penalty, `coef` times which enters the actor's loss."""

    coef: float = option(1.0, "weight of the regularizer in the actor's loss", at_least=0)

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        """The regularizer of S = len(init) seeds."""
        raise NotImplementedError


@dataclass(frozen=True)
class OwnBC(RegularizerConfig):
    """The policy class's own behaviour-cloning loss: noise prediction, likelihood, evidence bound, ..."""

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        return self

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        return Penalty(policy.bc_loss(batch.obs, batch.act, rng))


REGULARIZERS: dict[str, type[RegularizerConfig]] = {"bc": OwnBC}
