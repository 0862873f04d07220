"""The only trainer. Each step, for every seed s alone:

    critic:  mean_B sum_K (Q_k(s, a) - r - discount * backup(s'))^2
    actor:   mean_B( weight * coef * regularizer + bonus )

by default in the order of the released Diffusion-QL: critic, actor against the updated critic, EMA of the actor, Polyak
average of the critic. What a backup or a regularizer owns (V, a multiplier, a behaviour model) descends its own loss,
before the critic and with the actor. Other orders: trainers/settings.py. Losses stay `[S, B]` until they are reduced
here: over B, then summed over S, so that each replica sees the gradient of its own run. Gradients are taken with
respect to the parameters about to be stepped and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.fusion import passes
from core.rng import Rng, beside, seed_generator
from core.tracking import untracked
from core.types import TaskSpec, Transitions
from critics.backups import Backup, ValueBackup
from critics.ensemble import Critic, Critics
from critics.exact import ExactCritic
from critics.targets import polyak, td_loss, td_target
from policies.base import Policy
from trainers.annealing import Annealing
from trainers.common import RecordedRng
from trainers.descent import descend
from trainers.optim import ReplicaAdam, frozen_copy, stepped
from trainers.penalty import Total
from trainers.regularizers import Regularizer
from trainers.settings import ORDERS, Due, Parts, TrainerConfig
from trainers.terms import Improver, Improves

__all__ = ["Due", "Parts", "Trainer", "TrainerConfig", "frozen_copy"]


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
        self.config, self.parts, self.step, self.annealing = config, parts, 0, annealing
        self.device = torch.device(device)
        self.penalties = Total(self.device)
        #: of Q in the policy's loss; on the device, where a replayed step reads it
        self.bonus_weight = torch.ones((), dtype=torch.float64, device=self.device)
        #: how a step's work is done: as it is written, or replayed (trainers/captured.py)
        self.taking: Callable[[Due, Transitions, Rng], dict[str, Tensor]] = self.take

        self.policy: Policy = self._build(parts.policy, "init", spec, seeds, dtype)
        self.critic: Critic | None = None
        self.target_critic: Critic | None = None
        self.target_policy: Policy | None = None
        self.backup: Backup | None = None
        #: a frozen critic takes no step: it was trained elsewhere, its V too, or it is exact
        self.critic_frozen = False
        if parts.improvement.needs_critic or needs_critic:
            self.critic = self._build(parts.critic, "init-critic", spec, seeds, dtype)
            self.target_critic = frozen_copy(self.critic)
            self.backup = self._build(parts.backup, "init-backup", spec, seeds, dtype)
        if self._asks_average():
            self.target_policy = frozen_copy(self.policy)
        if self.target_policy is not None and parts.policy.follows_average:
            for one, average in zip(_policies(self.policy), _policies(self.target_policy), strict=True):
                one.follow(average)
        self.regularizer: Regularizer = self._build(parts.regularizer, "init-regularizer", spec, seeds, dtype)
        self.improvement: Improves = self._build(parts.improvement, "init-improvement", spec, seeds, dtype)
        #: what changes over training by the number of the step
        self._told = [one for learner in self.learners().values() for one in _policies(learner) if one.changes_by_step]
        self.optimizers = {
            name: ReplicaAdam(stepped(module), self._base_rate(name), self._decay(name))
            for name, module in self.learners().items()
        }

    def _asks_average(self) -> bool:
        """Whether anything needs the policy's average: the critic's target, the policy's own loss, or acting."""
        by_target = self.backup is not None and self.parts.backup.needs_policy
        own = self.parts.policy.follows_average or self.config.acting == "average"
        return own or (by_target and self.config.next_actions == "average")

    def _build(self, part: Any, stream: str, spec: TaskSpec, seeds: Sequence[int], dtype: torch.dtype) -> Any:
        """A part from its own stream, so that every class meets the same critic; its weights drawn on the CPU, to be
        the same on every device."""
        network = self.parts.network_of(stream.partition("-")[2] or "policy")
        built = part.build(spec, network, [seed_generator(seed, stream) for seed in seeds])
        return built.to(self.device, dtype) if isinstance(built, nn.Module) else built

    def learners(self) -> dict[str, nn.Module]:
        """Every module that takes gradient steps of its own."""
        parts: dict[str, Any] = {"policy": self.policy, "critic": self.critic, "backup": self.backup}
        parts |= {"regularizer": self.regularizer, "improvement": self.improvement}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    @property
    def acting_policy(self) -> Policy:
        """What acts at test time."""
        return self.target_policy if self.config.acting == "average" and self.target_policy else self.policy

    def critics(self) -> Critics | None:
        """What improvements and selections may ask about the worth of actions."""
        if self.critic is None or self.target_critic is None:
            return None
        value = self.backup.value if isinstance(self.backup, ValueBackup) else None
        energy = self.improvement.energy if isinstance(self.improvement, Improver) else None
        return Critics(self.critic, self.target_critic, value, energy)

    def update(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """One step on a batch `[S, B, ...]`. Returns each loss and gradient norm (before clipping), `[S]`."""
        if self.config.bonus_start or self.config.bonus_ramp:
            self.bonus_weight.fill_(self.config.bonus_weight(self.step))
        self._anneal()
        self.tell(self.step)
        record = self.taking(self.due(), batch, rng)
        self.step += 1
        return record

    def tell(self, step: int) -> None:
        """Put what changes over training where the step of this number has it."""
        for one in self._told:
            one.at_step(max(step, 0))

    def due(self) -> Due:
        """What the coming step has to do, which the step's number alone decides."""
        config, step = self.config, self.step + (self.config.delay == "last")
        return Due(
            critic=self.critic is not None and not self.critic_frozen,
            policy=step % config.policy_every == 0,
            target_policy=config.target_policy_rate(self.step),
            target_critic=step % config.tau_every == 0 and not self.critic_frozen,
            value=isinstance(self.backup, ValueBackup)
            and (not self.critic_frozen or isinstance(self.critic, ExactCritic)),
        )

    def take(self, due: Due, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """The work of a step, the same whatever the step's number: nothing but operations on the device."""
        record: dict[str, Tensor] = {}
        for phase in ORDERS[self.config.order]:
            record |= self._phase(phase.split("+"), due, batch, rng)
        return {name: value.detach() for name, value in record.items()}

    def train(
        self, dataset: Transitions, steps: int, rng: Rng, ends: Callable[[], object] | None = None
    ) -> dict[str, Tensor]:
        """`steps` updates on batches drawn uniformly with replacement; returns the latest record of each part.

        `ends`: asked before each step; fewer are taken once it says something.
        """
        record: dict[str, Tensor] = {}
        for _ in range(steps):
            if ends is not None and ends():
                break
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

    def _decay(self, name: str) -> float:
        return {"policy": self.config.weight_decay, "regularizer": self.config.behaviour_decay}.get(name, 0.0)

    def _anneal(self) -> None:
        if self.annealing is not None:
            factor = self.annealing(self.step)
            for name, optimizer in self.optimizers.items():
                if name == "policy" or self.config.annealed == "all":
                    optimizer.set_rate(factor * self._base_rate(name))

    def _phase(self, learners: Sequence[str], due: Due, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """Losses and gradients of all of `learners` at the same parameters, then a step of each."""
        record: dict[str, Tensor] = {}
        losses: dict[str, Tensor] = {}
        with passes(self.device):
            if due.value and "value" in learners:
                losses["backup"] = record["value_loss"] = self._value_loss(batch)
            if due.critic and "critic" in learners:
                record |= self._critic_losses(batch, beside(rng, "critic"))
                losses["critic"] = record["critic_loss"]
            if due.policy and "policy" in learners:
                record |= self._policy_losses(batch, rng)
                losses["policy"] = record["actor_loss"]
                for name in ("regularizer", "improvement"):
                    if f"{name}_own" in record:
                        losses[name] = record[f"{name}_own"]
            gradients = {name: self.optimizers[name].gradients(loss) for name, loss in losses.items()}
        if "targets" in learners:
            self._move_targets(due)
        if "policy" in learners and not due.policy and self.config.coasting:
            self.optimizers["policy"].coast()
        return record | descend(self.optimizers, gradients, self.config)

    def _move_targets(self, due: Due) -> None:
        if self.target_policy is not None and due.target_policy:
            polyak(self.target_policy.parameters(), self.policy.parameters(), due.target_policy)
        if self.critic is not None and self.target_critic is not None and due.target_critic:
            polyak(self.target_critic.parameters(), self.critic.parameters(), self.config.tau)
        if due.policy and isinstance(self.improvement, Improver):
            self.improvement.move_averages(self.config.tau)

    def _value_loss(self, batch: Transitions) -> Tensor:
        assert isinstance(self.backup, ValueBackup)
        assert self.target_critic is not None
        return self.backup.own_loss(self.target_critic, batch).mean(-1)

    def _critic_losses(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        assert self.critic is not None
        assert self.target_critic is not None
        assert self.backup is not None
        config = self.parts.critic
        with torch.no_grad():
            policy = self.target_policy if self.config.next_actions == "average" else self.policy
            next_value = self.backup(self.target_critic, policy, batch, rng)
            target = config.scaled(td_target(batch.reward, batch.discount, next_value))
        loss = td_loss(self.critic(batch.obs, batch.act), target, config.loss).mean(-1)
        return {"critic_loss": loss, "target_q": target.mean(-1)}

    def _policy_losses(self, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        recorded = RecordedRng(rng) if self.config.common_noise else None
        with untracked(self.critic, self.backup):
            seen = self.parts.improvement.edited(self.critics(), batch)
        penalty = self.regularizer(self.policy, seen, recorded or rng)
        with untracked(self.critic, self.backup):
            terms = self.improvement(self.policy, self.critics(), batch, recorded.again() if recorded else rng)
        bonus = terms.bonus * self.bonus_weight
        coef = self.parts.regularizer.coef * penalty.weight
        loss = (terms.weight * coef * penalty.value + bonus).mean(-1)
        record = {"regularizer": penalty.value.mean(-1), "bonus": bonus.mean(-1), "actor_loss": loss}
        owned = {"regularizer_own": penalty.own, "improvement_own": terms.own}
        return record | {name: own.mean(-1) for name, own in owned.items() if own is not None}


def _policies(module: nn.Module) -> list[Policy]:
    """The policies inside a module, itself one or not."""
    return [one for one in module.modules() if isinstance(one, Policy)]
