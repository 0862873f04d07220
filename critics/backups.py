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

from core.networks import MLP, NetworkConfig
from core.options import Options, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from critics.candidates import lower_bound, values_of
from critics.ensemble import Critic
from critics.targets import expectile_loss
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
    #: whether it asks which action the data took next
    needs_next_act: ClassVar[bool] = False
    #: whether what it builds is a `ValueBackup`
    has_value: ClassVar[bool] = False

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Backup:
        """The backup of S = len(init) seeds."""
        raise NotImplementedError


@dataclass(frozen=True)
class PlainBackup(BackupConfig):
    """A backup without parameters: its own configuration."""

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Backup:
        return self

    @abstractmethod
    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        """The bootstrapped next value of each transition, `[S, B]`."""


@dataclass(frozen=True)
class AtTargetAction(PlainBackup):
    """The target heads at one action of the target policy, smoothed by clipped noise where asked (TD3, section 5.3)."""

    noise: float = option(0.0, "deviation of the noise added to the next action (TD3: 0.2)", at_least=0)
    noise_clip: float = option(0.5, "that noise is clipped to plus or minus this", above=0)

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        next_act = target_policy.sample(batch.next_obs, rng)
        if self.noise > 0:
            noise = self.noise * rng.normal(*next_act.shape[1:])
            next_act = (next_act + noise.clamp(-self.noise_clip, self.noise_clip)).clamp(-1, 1)
        return self.of_heads(target_critic(batch.next_obs, next_act)) - self.penalty(next_act, batch)

    def penalty(self, next_act: Tensor, batch: Transitions) -> Tensor | float:
        """What is taken from the value of the next action `[S, B, A]`."""
        return 0.0

    @abstractmethod
    def of_heads(self, values: Tensor) -> Tensor:
        """`[S, K, B] -> [S, B]`."""


@dataclass(frozen=True)
class ClippedDoubleQ(AtTargetAction):
    """Smallest of the target heads at the target policy's action (Fujimoto et al. 2018, arXiv 1802.09477, eq. 10)."""

    def of_heads(self, values: Tensor) -> Tensor:
        return values.amin(1)


@dataclass(frozen=True)
class Penalised(ClippedDoubleQ):
    """Clipped double Q less coef |a' - the action the data took next|^2 (ReBRAC, arXiv 2305.09836)."""

    needs_next_act = True

    coef: float = option(0.01, "weight of the squared distance to the data's next action", at_least=0)

    def penalty(self, next_act: Tensor, batch: Transitions) -> Tensor:
        assert batch.next_act is not None, "backup penalised needs transitions with next actions"
        return self.coef * (next_act - batch.next_act).square().sum(-1)


@dataclass(frozen=True)
class LowerBound(AtTargetAction):
    """Mean of the target heads less rho deviations, at the target policy's action (ColinQiyangLi/qam, as released)."""

    rho: float = option(0.5, "deviations of the heads taken from their mean", at_least=0)

    def of_heads(self, values: Tensor) -> Tensor:
        return lower_bound(values, self.rho)


@dataclass(frozen=True)
class MeanQ(AtTargetAction):
    """Mean of the target heads at the target policy's action (FQL, arXiv 2502.02538)."""

    def of_heads(self, values: Tensor) -> Tensor:
        return values.mean(1)


@dataclass(frozen=True)
class MaxQ(PlainBackup):
    """Each head's largest value over n actions, then the smallest head (Diffusion-QL, "max Q backup").

    The maximum is taken head by head, so that the heads may favour different actions.
    """

    samples: int = option(10, "actions of the target policy the maximum is over", at_least=1)

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        actions = target_policy.sample_each(batch.next_obs, self.samples, rng)
        return values_of(target_critic, batch.next_obs, actions).amax(-1).amin(1)


@dataclass(frozen=True)
class SoftClipped(PlainBackup):
    """max over n actions of pessimism * min_k Q_k + (1 - pessimism) * max_k Q_k (BCQ, arXiv 1812.02900)."""

    samples: int = option(10, "actions of the target policy the maximum is over", at_least=1)
    pessimism: float = option(0.75, "weight of the smallest head against the largest", at_least=0, at_most=1)

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        actions = target_policy.sample_each(batch.next_obs, self.samples, rng)
        values = values_of(target_critic, batch.next_obs, actions)
        mixed = self.pessimism * values.amin(1) + (1 - self.pessimism) * values.amax(1)
        return mixed.amax(-1)


@dataclass(frozen=True)
class SoftmaxQ(PlainBackup):
    """sum_i w_i Q_i over n actions of the target policy, w their softmax of Q_i / temperature, Q the smallest head.

    With a policy that clones it stays among the behaviour's own actions (SfBC, arXiv 2209.14548). It goes
    from the mean of the values, at high temperature, to the largest.
    """

    samples: int = option(16, "actions of the target policy that are weighed (n)", at_least=1)
    temperature: float = option(0.05, "of the softmax; SfBC's alpha is 1 over it, 20", above=0)

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert target_policy is not None
        actions = target_policy.sample_each(batch.next_obs, self.samples, rng)
        values = values_of(target_critic, batch.next_obs, actions).amin(1)
        return ((values / self.temperature).softmax(-1) * values).sum(-1)


@dataclass(frozen=True)
class Sarsa(PlainBackup):
    """Smallest of the target heads at the action the data took next: evaluates the behaviour, never leaves the data."""

    needs_policy = False
    needs_next_act = True

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        assert batch.next_act is not None, "backup sarsa needs transitions with next actions"
        return target_critic(batch.next_obs, batch.next_act).amin(1)


@dataclass(frozen=True)
class RewardOnly(PlainBackup):
    """No bootstrapping, for one-step tasks: what any other backup gives there, without the work."""

    needs_policy = False

    def __call__(self, target_critic: Critic, target_policy: Policy | None, batch: Transitions, rng: Rng) -> Tensor:
        return torch.zeros_like(batch.reward)


class ExpectileValue(ValueBackup):
    """V(s), trained towards an upper expectile of the smallest target head at the data's actions (IQL)."""

    def __init__(self, config: Expectile, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.expectile = config.expectile
        self.net = MLP((len(init),), spec.obs_dim, 1, network, init)

    def value(self, obs: Tensor) -> Tensor:
        return self.net(obs).squeeze(-1)

    def own_loss(self, target_critic: Critic, batch: Transitions) -> Tensor:
        with torch.no_grad():
            values = target_critic(batch.obs, batch.act).amin(1)
        return expectile_loss(values - self.value(batch.obs), self.expectile)


@dataclass(frozen=True)
class Expectile(BackupConfig):
    """Implicit Q-learning's V (arXiv 2110.06169, eqs. 5-6): the best the data's actions do, with no policy asked."""

    needs_policy = False
    has_value = True

    expectile: float = option(0.7, "which expectile of Q over the data's actions V is (tau)", above=0, at_most=0.9999)

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> ExpectileValue:
        return ExpectileValue(self, spec, network, init)


BACKUPS: dict[str, type[BackupConfig]] = {
    "clipped-double-q": ClippedDoubleQ,
    "mean": MeanQ,
    "lower-bound": LowerBound,
    "penalised": Penalised,
    "max-q": MaxQ,
    "soft-clipped": SoftClipped,
    "softmax-q": SoftmaxQ,
    "expectile": Expectile,
    "sarsa": Sarsa,
    "reward-only": RewardOnly,
}
