"""The only trainer. Each step, for every seed s alone:

    critic:  mean_B sum_K (Q_k(s, a) - r - discount * backup(s'))^2
    actor:   mean_B( weight * coef * regularizer + bonus )

in the order of the released Diffusion-QL: critic, actor against the updated critic, EMA of the actor, Polyak
average of the critic. Losses stay `[S, B]` until they are reduced here: over B, then summed over S, so that
each replica sees the gradient of its own run. Gradients are taken with respect to the parameters about to be
stepped and no others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from core.networks import NetworkConfig
from core.options import Options, option
from core.rng import Rng, seed_generator
from core.types import TaskSpec, Transitions
from critics.backups import Backup
from critics.ensemble import Critic, CriticConfig
from critics.targets import polyak, td_loss, td_target
from policies.base import Policy, PolicyConfig
from trainers.improvements import Improvement
from trainers.optim import clip_per_replica, grad_norms
from trainers.regularizers import Regularizer

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class TrainerConfig(Options):
    batch: int = option(256, "transitions of each seed's batch", at_least=1)
    lr: float = option(3e-4, "learning rate of the policy (Adam)", above=0)
    critic_lr: float = option(3e-4, "learning rate of the critic (Adam)", above=0)
    grad_norm: float | None = option(None, "clip each seed's gradients of each network at this norm", above=0)
    tau: float = option(0.005, "rate of the target critic's Polyak average", above=0, at_most=1)
    ema_decay: float = option(0.995, "decay of the target policy", at_least=0, at_most=1)
    ema_every: int = option(5, "steps between updates of the target policy", at_least=1)
    ema_start: int = option(1000, "first step that updates the target policy; it keeps its start before", at_least=0)


@dataclass(frozen=True)
class Parts:
    """What is plugged into the trainer, and what an ablation swaps."""

    policy: PolicyConfig
    regularizer: Regularizer
    improvement: Improvement
    backup: Backup
    critic: CriticConfig
    network: NetworkConfig


class Trainer:
    """S replicas of one method. A critic is built only where something needs one, a target policy likewise."""

    def __init__(
        self,
        parts: Parts,
        config: TrainerConfig,
        spec: TaskSpec,
        seeds: Sequence[int],
        *,
        needs_critic: bool = False,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """`needs_critic`: whether to train one though the improvement needs none (a selection does, say)."""
        self.config, self.parts, self.step = config, parts, 0
        # initial weights are drawn on the CPU, so that they are the same on every device
        init = [seed_generator(seed, "init") for seed in seeds]

        self.policy = parts.policy.build(spec, parts.network, init).to(device, dtype)
        self.optimizer = _adam(self.policy, config.lr)
        self.critic: Critic | None = None
        self.target_critic: Critic | None = None
        self.target_policy: Policy | None = None
        self.critic_optimizer: torch.optim.Optimizer | None = None
        if parts.improvement.needs_critic or needs_critic:
            self.critic = parts.critic.build(spec, parts.network, init).to(device, dtype)
            self.critic_optimizer = _adam(self.critic, config.critic_lr)
            self.target_critic = frozen_copy(self.critic)
            if parts.backup.needs_policy:
                self.target_policy = frozen_copy(self.policy)

    def update(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """One step on a batch `[S, B, ...]`. Returns each loss and gradient norm (before clipping), `[S]`."""
        record: dict[str, Tensor] = {}
        if self.critic is not None:
            record |= self._update_critic(batch, rng)
        record |= self._update_policy(batch, rng)
        if self.target_policy is not None and self._ema_is_due():
            polyak(self.target_policy.parameters(), self.policy.parameters(), 1 - self.config.ema_decay)
        if self.critic is not None and self.target_critic is not None:
            polyak(self.target_critic.parameters(), self.critic.parameters(), self.config.tau)
        self.step += 1
        return record

    def train(self, dataset: Transitions, steps: int, rng: Rng) -> dict[str, Tensor]:
        """`steps` updates on batches drawn uniformly with replacement; returns the last step's record."""
        record: dict[str, Tensor] = {}
        for _ in range(steps):
            record = self.update(dataset[rng.integers(len(dataset), self.config.batch)], rng)
        return record

    def _ema_is_due(self) -> bool:
        return self.step >= self.config.ema_start and self.step % self.config.ema_every == 0

    def _update_critic(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        assert self.critic is not None
        assert self.target_critic is not None
        assert self.critic_optimizer is not None
        with torch.no_grad():
            next_value = self.parts.backup(self.target_critic, self.target_policy, batch, rng)
            target = td_target(batch.reward, batch.discount, next_value)
        loss = td_loss(self.critic(batch.obs, batch.act), target).mean(-1)
        norms = self._descend(loss, self.critic, self.critic_optimizer)
        return {"critic_loss": loss.detach(), "critic_grad_norm": norms, "target_q": target.mean(-1)}

    def _update_policy(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        penalty = self.parts.regularizer(self.policy, batch, rng)
        terms = self.parts.improvement(self.policy, self.critic, batch, rng)
        loss = (terms.weight * self.parts.regularizer.coef * penalty + terms.bonus).mean(-1)
        norms = self._descend(loss, self.policy, self.optimizer)
        return {
            "regularizer": penalty.detach().mean(-1),
            "bonus": terms.bonus.detach().mean(-1),
            "actor_loss": loss.detach(),
            "actor_grad_norm": norms,
        }

    def _descend(self, loss: Tensor, module: nn.Module, optimizer: torch.optim.Optimizer) -> Tensor:
        """One step of each replica down its own loss `[S]`; returns the gradient norms `[S]`."""
        parameters = list(module.parameters())
        # what this loss does not reach has gradient zero: a perturbation under behaviour cloning alone, say
        grads: Sequence[Tensor] = torch.autograd.grad(loss.sum(), parameters, materialize_grads=True)
        norms = grad_norms(grads)
        if self.config.grad_norm is not None:
            grads = clip_per_replica(grads, norms, self.config.grad_norm)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return norms


def _adam(module: nn.Module, lr: float) -> torch.optim.Adam:
    return torch.optim.Adam(module.parameters(), lr=lr, fused=True)


def frozen_copy(module: M) -> M:
    """A copy whose parameters take no gradient: a target network."""
    return copy.deepcopy(module).requires_grad_(False)
