"""What an improvement is: its terms of the loss `mean_B(weight * coef * regularizer + bonus)`, and what it needs.

An improvement without parameters is its own configuration; one with parameters (a behaviour flow beside the policy) is
an `Improver`, a module that its configuration builds, and states the loss of those parameters as `own`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import Options
from core.rng import Rng
from core.types import TaskSpec, Transitions
from critics.ensemble import Critics, Energy
from policies.base import Policy


class ActorTerms(NamedTuple):
    """`weight` of the regularizer and `bonus` added to it, each `[S, B]`.

    `own` `[S, B]` is the loss of the improvement's own parameters. It must share no graph with `bonus`.
    """

    weight: Tensor
    bonus: Tensor
    own: Tensor | None = None


class Improves(Protocol):
    """Called once for each step of the policy."""

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms: ...


class Improver(nn.Module):
    """An improvement with parameters of its own; those that are averages of others take no gradient."""

    @property
    def energy(self) -> Energy | None:
        """Of noised actions, where it learns one."""
        return None

    def move_averages(self, rate: float) -> None:
        """Take what it has of averages `rate` of the way to what they follow, after each step of the policy."""


@dataclass(frozen=True)
class Improvement(Options):
    needs_critic: ClassVar[bool] = False
    #: whether it asks the critic's average, not the critic that is trained
    asks_target: ClassVar[bool] = False
    #: whether it adds a bonus, which moves the policy without a regularizer; a weight alone cannot
    adds_bonus: ClassVar[bool] = False
    #: whether it differentiates Q through the policy's samples
    needs_reparameterised: ClassVar[bool] = False
    #: whether it asks for one-step predictions of the clean action
    needs_denoiser: ClassVar[bool] = False
    #: whether it asks for the velocity of a flow from noise to actions
    needs_velocity: ClassVar[bool] = False
    #: whether it asks for the policy's choice of a latent
    needs_latent: ClassVar[bool] = False
    #: whether it has parameters of its own, trained beside the policy
    learns: ClassVar[bool] = False
    #: whether it learns an energy of noised actions, by which a selection can guide samples
    gives_energy: ClassVar[bool] = False
    #: whether the regularizer sees other actions than the data's
    edits: ClassVar[bool] = False

    @property
    def needs_value(self) -> bool:
        """Whether, with these options, the backup must own V."""
        return False

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Improves:
        """The improvement of S = len(init) seeds."""
        return self

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        raise NotImplementedError

    def edited(self, critics: Critics | None, batch: Transitions) -> Transitions:
        """The batch that the regularizer sees; the critic always learns from the data's own."""
        return batch
