"""The only trainer. Each step, for every seed s alone:

    critic:  mean_B sum_K (Q_k(s, a) - r - discount * backup(s'))^2
    actor:   mean_B( weight * coef * regularizer + bonus )

in the order of the released Diffusion-QL: critic, actor against the updated critic, EMA of the actor, Polyak
average of the critic. What a backup or a regularizer owns (V, a multiplier, a behaviour model) descends its own loss,
before the critic and after the actor. Losses stay `[S, B]` until they are reduced here: over B, then summed over S, so
that each replica sees the gradient of its own run. Gradients are taken with respect to the parameters about to be
stepped and no others.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from core.fusion import passes
from core.networks import NetworkConfig
from core.options import Options, option
from core.rng import Rng, beside, seed_generator
from core.types import TaskSpec, Transitions
from critics.backups import Backup, BackupConfig, ValueBackup
from critics.ensemble import Critic, CriticConfig, Critics
from critics.targets import polyak, td_loss, td_target
from policies.base import Policy, PolicyConfig
from trainers.annealing import Annealing
from trainers.improvements import Improvement
from trainers.optim import ReplicaAdam, untracked
from trainers.penalty import Total
from trainers.regularizers import Regularizer, RegularizerConfig

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class TrainerConfig(Options):
    batch: int = option(256, "transitions of each seed's batch", at_least=1)
    lr: float = option(3e-4, "learning rate of the policy (Adam)", above=0)
    critic_lr: float = option(3e-4, "learning rate of the critic, and of what other parts own (Adam)", above=0)
    grad_norm: float | None = option(None, "clip each seed's gradients of each network at this norm", above=0)
    policy_every: int = option(1, "critic steps to one step of the policy (TD3's delay)", at_least=1)
    bonus_start: int = option(0, "first step at which Q enters the policy's loss (BEAR's warm-up)", at_least=0)
    bonus_ramp: int = option(0, "steps over which the weight of Q then rises to its full value", at_least=0)
    tau: float = option(0.005, "rate of the target critic's Polyak average", above=0, at_most=1)
    tau_every: int = option(1, "steps between updates of the target critic", at_least=1)
    ema_decay: float = option(0.995, "decay of the target policy", at_least=0, at_most=1)
    ema_every: int = option(5, "steps between updates of the target policy", at_least=1)
    ema_start: int = option(1000, "first step from which the target policy is an average", at_least=0)
    ema_before: str = option(
        "follow",
        "the target policy before that: follow copies the policy every ema_every steps, keep leaves it at its random "
        "start (as released by Diffusion-QL)",
        choices=("follow", "keep"),
    )

    def target_policy_rate(self, step: int) -> float:
        """How far this step takes the target policy towards the policy: 0 not at all, 1 to a copy."""
        if step % self.ema_every:
            return 0.0
        if step < self.ema_start:
            return float(self.ema_before == "follow")
        return 1 - self.ema_decay


@dataclass(frozen=True)
class Parts:
    """What is plugged into the trainer, and what an ablation swaps."""

    policy: PolicyConfig
    regularizer: RegularizerConfig
    improvement: Improvement
    backup: BackupConfig
    critic: CriticConfig
    network: NetworkConfig


@dataclass(frozen=True)
class Due:
    """Which parts of a step are to be taken."""

    critic: bool
    policy: bool
    #: how far the target policy goes towards the policy: 0 leaves it, 1 copies
    target_policy: float
    target_critic: bool


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
        annealing: Annealing | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        """`needs_critic`: train one though the improvement needs none; `annealing`: step -> factor on all rates."""
        self.config, self.parts, self.step = config, parts, 0
        self.annealing = annealing
        self.device = torch.device(device)
        self.penalties = Total(self.device)
        #: of Q in the policy's loss; on the device, where a replayed step reads it
        self.bonus_weight = torch.ones((), dtype=torch.float64, device=self.device)
        #: how a step's work is done: as it is written, or replayed (trainers/captured.py)
        self.taking: Callable[[Due, Transitions, Rng], dict[str, Tensor]] = self.take

        # drawn on the CPU, to be the same on every device; each part's apart, so that every class meets the same critic
        def build(part: Any, stream: str) -> Any:
            built = part.build(spec, parts.network, [seed_generator(seed, stream) for seed in seeds])
            return built.to(device, dtype) if isinstance(built, nn.Module) else built

        self.policy: Policy = build(parts.policy, "init")
        self.critic: Critic | None = None
        self.target_critic: Critic | None = None
        self.target_policy: Policy | None = None
        self.backup: Backup | None = None
        #: a frozen critic takes no step: it was trained elsewhere
        self.critic_frozen = False
        if parts.improvement.needs_critic or needs_critic:
            self.critic = build(parts.critic, "init-critic")
            self.target_critic = frozen_copy(self.critic)
            self.backup = build(parts.backup, "init-backup")
            if parts.backup.needs_policy:
                self.target_policy = frozen_copy(self.policy)
        self.regularizer: Regularizer = build(parts.regularizer, "init-regularizer")
        self.optimizers = {
            name: ReplicaAdam(module.parameters(), self._base_rate(name)) for name, module in self.learners().items()
        }

    def learners(self) -> dict[str, nn.Module]:
        """Every module that takes gradient steps of its own."""
        parts = {"policy": self.policy, "critic": self.critic, "backup": self.backup, "regularizer": self.regularizer}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    def critics(self) -> Critics | None:
        """What improvements and selections may ask about the worth of actions."""
        if self.critic is None or self.target_critic is None:
            return None
        value = self.backup.value if isinstance(self.backup, ValueBackup) else None
        return Critics(self.critic, self.target_critic, value)

    def update(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """One step on a batch `[S, B, ...]`. Returns each loss and gradient norm (before clipping), `[S]`."""
        if self.config.bonus_start or self.config.bonus_ramp:
            self.bonus_weight.fill_(self._bonus_weight())
        record = self.taking(self.due(), batch, rng)
        self.step += 1
        return record

    def due(self) -> Due:
        """What the coming step has to do, which the step's number alone decides."""
        config, step = self.config, self.step
        return Due(
            critic=self.critic is not None and not self.critic_frozen,
            policy=step % config.policy_every == 0,
            target_policy=config.target_policy_rate(step),
            target_critic=step % config.tau_every == 0 and not self.critic_frozen,
        )

    def take(self, due: Due, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """The work of a step, the same whatever the step's number: nothing but operations on the device."""
        record: dict[str, Tensor] = {}
        with passes(self.device):
            if due.critic:
                record |= self._update_critic(batch, beside(rng, "critic"))
            if due.policy:
                record |= self._update_policy(batch, rng)
        if self.target_policy is not None and due.target_policy:
            polyak(self.target_policy.parameters(), self.policy.parameters(), due.target_policy)
        if self.critic is not None and self.target_critic is not None and due.target_critic:
            polyak(self.target_critic.parameters(), self.critic.parameters(), self.config.tau)
        return record

    def train(self, dataset: Transitions, steps: int, rng: Rng) -> dict[str, Tensor]:
        """`steps` updates on batches drawn uniformly with replacement; returns the latest record of each part."""
        record: dict[str, Tensor] = {}
        for _ in range(steps):
            self._anneal()
            rows = beside(rng, "batches").integers(len(dataset), self.config.batch)
            latest = self.update(dataset[rows], rng)
            if "regularizer" in latest:
                self.penalties.add(latest["regularizer"])
            record |= latest
        return record

    def mean_penalty(self) -> Tensor | None:
        """The regularizer `[S]`, meaned over the policy's steps since this was last asked; None where there were none.

        With the class's own loss for regularizer it is the BC loss that the offline selection of 2208.06193 goes by.
        """
        return self.penalties.take_mean()

    def _base_rate(self, name: str) -> float:
        return self.config.lr if name == "policy" else self.config.critic_lr

    def _anneal(self) -> None:
        if self.annealing is not None:
            factor = self.annealing(self.step)
            for name, optimizer in self.optimizers.items():
                optimizer.set_rate(factor * self._base_rate(name))

    def _update_critic(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        assert self.critic is not None
        assert self.target_critic is not None
        assert self.backup is not None
        record: dict[str, Tensor] = {}
        if isinstance(self.backup, ValueBackup):
            record["value_loss"] = self.backup.own_loss(self.target_critic, batch).mean(-1)
            self._descend(record["value_loss"], "backup")
        with torch.no_grad():
            next_value = self.backup(self.target_critic, self.target_policy, batch, rng)
            target = td_target(batch.reward, batch.discount, next_value)
        loss = td_loss(self.critic(batch.obs, batch.act), target).mean(-1)
        norms = self._descend(loss, "critic")
        record |= {"critic_loss": loss, "critic_grad_norm": norms, "target_q": target.mean(-1)}
        return {name: value.detach() for name, value in record.items()}

    def _update_policy(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        penalty = self.regularizer(self.policy, batch, rng)
        with untracked(self.critic, self.backup):
            terms = self.parts.improvement(self.policy, self.critics(), batch, rng)
        bonus = terms.bonus * self.bonus_weight
        coef = self.parts.regularizer.coef * penalty.weight
        loss = (terms.weight * coef * penalty.value + bonus).mean(-1)
        record = {"regularizer": penalty.value.mean(-1), "bonus": bonus.mean(-1), "actor_loss": loss}
        record["actor_grad_norm"] = self._descend(loss, "policy")
        if penalty.own is not None:
            record["regularizer_own"] = penalty.own.mean(-1)
            self._descend(record["regularizer_own"], "regularizer")
        return {name: value.detach() for name, value in record.items()}

    def _bonus_weight(self) -> float:
        since = self.step - self.config.bonus_start
        if since < 0:
            return 0.0
        return min(1.0, (since + 1) / self.config.bonus_ramp) if self.config.bonus_ramp else 1.0

    def _descend(self, loss: Tensor, name: str) -> Tensor:
        """One step of each replica of a learner down its own loss `[S]`; returns the gradient norms `[S]`."""
        return self.optimizers[name].descend(loss, self.config.grad_norm)


def frozen_copy(module: M) -> M:
    """A copy whose parameters take no gradient: a target network."""
    return copy.deepcopy(module).requires_grad_(False)
