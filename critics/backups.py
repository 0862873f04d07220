"""Backups: the value of the next state that the critic bootstraps from, `[S, B]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from core.options import Options
from core.rng import Rng
from core.types import Transitions
from critics.ensemble import Critic
from policies.base import Policy


@dataclass(frozen=True)
class Backup(Options):
    """The bootstrapped next value. `needs_policy`: whether it asks a target policy for next actions."""

    needs_policy: ClassVar[bool] = True

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class ClippedDoubleQ(Backup):
    """Smallest of the target heads at the target policy's action (Fujimoto et al. 2018, arXiv 1802.09477, eq. 10)."""

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        next_act = target_policy.sample(batch.next_obs, rng)
        return target_critic(batch.next_obs, next_act).amin(1)


@dataclass(frozen=True)
class RewardOnly(Backup):
    """No bootstrapping, for one-step tasks: what any other backup gives there, without the work."""

    needs_policy = False

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        return torch.zeros_like(batch.reward)


BACKUPS: dict[str, type[Backup]] = {"clipped-double-q": ClippedDoubleQ, "reward-only": RewardOnly}
