"""Backups: the value of the next state that the critic bootstraps from, `[S, B]`.

A backup without parameters is its own configuration; one with parameters (IQL's V) is a `ValueBackup`, a module
that its configuration builds and whose own loss the trainer descends before the critic's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import Options
from core.rng import Rng
from core.types import TaskSpec, Transitions
from critics.ensemble import Critic
from policies.base import Policy


class Backup(Protocol):
    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        """The bootstrapped next value of each transition, `[S, B]`."""
        ...


class ValueBackup(nn.Module):
    """A backup that owns a state-value network."""

    @abstractmethod
    def value(self, obs: Tensor) -> Tensor:
        """V of each observation, `[S, B, O] -> [S, B]`."""

    @abstractmethod
    def own_loss(self, target_critic: Critic, batch: Transitions) -> Tensor:
        """The loss of its parameters, `[S, B]`."""

    def forward(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        return self.value(batch.next_obs)


@dataclass(frozen=True)
class BackupConfig(Options):
    """The options of a backup. `needs_policy`: whether it asks a target policy for next actions."""

    needs_policy: ClassVar[bool] = True
    #: whether what it builds is a `ValueBackup`
    has_value: ClassVar[bool] = False

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Backup:
        """The backup of S = len(init) seeds."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClippedDoubleQ(BackupConfig):
    """Smallest of the target heads at the target policy's action (Fujimoto et al. 2018, arXiv 1802.09477, eq. 10)."""

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Backup:
        return self

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        next_act = target_policy.sample(batch.next_obs, rng)
        return target_critic(batch.next_obs, next_act).amin(1)


@dataclass(frozen=True)
class RewardOnly(BackupConfig):
    """No bootstrapping, for one-step tasks: what any other backup gives there, without the work."""

    needs_policy = False

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Backup:
        return self

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        return torch.zeros_like(batch.reward)


BACKUPS: dict[str, type[BackupConfig]] = {"clipped-double-q": ClippedDoubleQ, "reward-only": RewardOnly}
