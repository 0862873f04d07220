"""What a regularizer is: a penalty of the policy for each example `[S, B]`, and what it needs to be one.

A regularizer without parameters is its own configuration; one with parameters (a learned multiplier, a behaviour model
trained beside) is a module that its configuration builds, and states the loss of those parameters as `own`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import Options, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from policies.base import Policy


class Penalty(NamedTuple):
    """`weight` times `value` `[S, B]` enters the actor's loss, `value` alone says how far the policy is from the data.

    `own` `[S, B]` is the loss of the regularizer's own parameters.
    """

    value: Tensor
    own: Tensor | None = None
    weight: Tensor | float = 1.0


class Regularizer(Protocol):
    """Called once for each actor step. `own` must share no graph with `value`: the trainer descends each alone."""

    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty: ...


@dataclass(frozen=True)
class RegularizerConfig(Options):
    """The options of a penalty, `coef` times which enters the actor's loss."""

    #: whether it moves the policy at all; without, only an improvement that adds a bonus can
    trains: ClassVar[bool] = True
    #: whether it differentiates through the policy's samples
    needs_reparameterised: ClassVar[bool] = False
    #: whether it asks the policy for a density
    needs_density: ClassVar[bool] = False
    #: whether a behaviour model must have a density
    behaviour_needs_density: ClassVar[bool] = False

    coef: float = option(1.0, "weight of the regularizer in the actor's loss", at_least=0)

    @property
    def needs_behaviour(self) -> bool:
        """Whether, with these options, its field `behaviour` must hold the configuration of a behaviour model."""
        return False

    @property
    def learns(self) -> bool:
        """Whether, with these options, it has parameters of its own, trained beside the policy."""
        return self.needs_behaviour

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        """The regularizer of S = len(init) seeds."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlainRegularizer(RegularizerConfig):
    """A regularizer without parameters: its own configuration."""

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Regularizer:
        return self

    @abstractmethod
    def __call__(self, policy: Policy, batch: Transitions, rng: Rng) -> Penalty:
        """The penalty of each example."""


class Total:
    """A running sum `[S]` that never leaves the device, in double precision: the terms are many and nearly equal."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._sum: Tensor | None = None
        self._count = 0

    def add(self, value: Tensor) -> None:
        if self._sum is None:
            self._sum = torch.zeros_like(value, dtype=torch.float64)
        self._sum += value
        self._count += 1

    def take_mean(self) -> Tensor | None:
        """The mean so far; the sum starts anew."""
        mean = self._sum / self._count if self._sum is not None else None
        self._sum, self._count = None, 0
        return mean

    def state_dict(self) -> dict[str, Any]:
        return {"sum": self._sum, "count": self._count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sum, self._count = state["sum"], state["count"]
        if self._sum is not None:
            self._sum = self._sum.to(self._device)
