"""What a trainer is told: its options, the parts plugged into it, and the order in which a step updates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core.networks import NetworkConfig
from core.options import OptionError, Options, option
from critics.backups import BackupConfig
from critics.ensemble import CriticConfig
from policies.base import PolicyConfig
from trainers.improvements import Improvement
from trainers.regularizers import RegularizerConfig

#: name -> the phases of a step. A phase computes its losses from what the phases before it left; learners joined by +
#: are differentiated at the same parameters, then all stepped. `targets` moves the averages; within a + phase they
#: move after the gradients are taken and before the step.
ORDERS: dict[str, tuple[str, ...]] = {
    # Diffusion-QL, TD3+BC; IQL too, whose policy goes by V and the target critic alone
    "critic-first": ("value", "critic", "policy", "targets"),
    # IDQL: the policy's weights are of the V before
    "policy-first": ("policy", "value", "critic", "targets"),
    # SRPO's critic: bootstraps from the V before, and the policy sees the average already moved
    "targets-first": ("critic", "value", "targets", "policy"),
    # EDP
    "together": ("value+critic+policy", "targets"),
    # FQL, ReBRAC, QSM, DAC: the averages too move towards the parameters before the step
    "together-lagging": ("value+critic+policy+targets",),
}


@dataclass(frozen=True)
class TrainerConfig(Options):
    batch: int = option(256, "transitions of each seed's batch", at_least=1)
    lr: float = option(3e-4, "learning rate of the policy (Adam)", above=0)
    critic_lr: float = option(3e-4, "learning rate of the critic, and of what other parts own (Adam)", above=0)
    weight_decay: float = option(0.0, "decay of the policy's weights (AdamW), per unit of learning rate", at_least=0)
    behaviour_decay: float = option(0.0, "decay of a behaviour model's weights, likewise (SRPO: 0.01)", at_least=0)
    annealed: str = option("all", "whose rates --lr-decay lowers (IQL: the policy's)", choices=("all", "policy"))
    grad_norm: float | None = option(None, "clip each seed's gradients of each network at this norm", above=0)
    clip_over: str = option(
        "network", "of what the norm is taken: each network, each head of the critic, or all learners together",
        choices=("network", "head", "all"),
    )  # fmt: skip
    clip_rule: str = option(
        "torch", "torch: times norm / (size + 1e-6); optax: times norm / size exactly", choices=("torch", "optax")
    )
    order: str = option(
        "critic-first", "which part is updated first, or all at the same parameters", choices=tuple(ORDERS)
    )
    policy_every: int = option(1, "critic steps to one step of the policy (TD3's delay)", at_least=1)
    delay: str = option(
        "first", "which step in every so many does what is delayed: the first, or the last (TD3)",
        choices=("first", "last"),
    )  # fmt: skip
    coasting: bool = option(False, "a delayed policy moves by its momentum in between, which Adam counts (ReBRAC)")
    common_noise: bool = option(False, "the improvement uses the regularizer's draws again (FQL, EDP, QSM)")
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
    next_actions: str = option(
        "average", "whose next actions the critic's target asks: the policy's average, or the policy itself (FQL)",
        choices=("average", "current"),
    )  # fmt: skip
    acting: str = option("policy", "what acts: the policy, or its average (IDQL)", choices=("policy", "average"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clip_over == "all" and "+" not in ORDERS[self.order][0]:
            raise OptionError(f"clip_over all needs an order that steps all learners at once, got order {self.order!r}")

    def target_policy_rate(self, step: int) -> float:
        """How far this step takes the target policy towards the policy: 0 not at all, 1 to a copy."""
        if (step + (self.delay == "last")) % self.ema_every:
            return 0.0
        if step < self.ema_start:
            return float(self.ema_before == "follow")
        return 1 - self.ema_decay

    def bonus_weight(self, step: int) -> float:
        """Of Q in the policy's loss at this step, 0 to 1."""
        since = step - self.bonus_start
        if since < 0:
            return 0.0
        return min(1.0, (since + 1) / self.bonus_ramp) if self.bonus_ramp else 1.0

    def policy_steps(self, steps: int) -> int:
        """How many steps the policy takes in a run of `steps`."""
        return self._times(self.policy_every, steps)

    def last_policy_step(self, steps: int) -> int:
        """The last step of a run of `steps` at which the policy is trained, where it is at all."""
        return self._last(self.policy_every, steps)

    def target_critic_updates(self, steps: int) -> int:
        """How often the target critic moves in a run of `steps`."""
        return self._times(self.tau_every, steps)

    def target_policy_updates(self, steps: int) -> tuple[int, int | None]:
        """How often a run of `steps` averages the target policy, and the last step before at which it copies one."""
        begins = min(self.ema_start, steps)
        copies = self._times(self.ema_every, begins) if self.ema_before == "follow" else 0
        averages = self._times(self.ema_every, steps) - self._times(self.ema_every, begins)
        return averages, self._last(self.ema_every, begins) if copies else None

    def _times(self, every: int, steps: int) -> int:
        """How many of `steps` steps do what is done once in `every`, at the first or the last of them."""
        return steps // every if self.delay == "last" else -(-steps // every)

    def _last(self, every: int, steps: int) -> int:
        """The last of them."""
        return self._times(every, steps) * every - (1 if self.delay == "last" else every)


@dataclass(frozen=True)
class Parts:
    """What is plugged into the trainer, and what an ablation swaps.

    `networks`: the network of a part ("policy", "critic", "regularizer") that has another than `network`.
    """

    policy: PolicyConfig
    regularizer: RegularizerConfig
    improvement: Improvement
    backup: BackupConfig
    critic: CriticConfig
    network: NetworkConfig
    networks: Mapping[str, NetworkConfig] = field(default_factory=dict)

    def network_of(self, part: str) -> NetworkConfig:
        """The network that `part` builds; a backup's V is as the critic."""
        alike = {"backup": "critic"}.get(part, part)
        return self.networks.get(part, self.networks.get(alike, self.network))


@dataclass(frozen=True)
class Due:
    """Which parts of a step are to be taken."""

    critic: bool
    policy: bool
    #: how far the target policy goes towards the policy: 0 leaves it, 1 copies
    target_policy: float
    target_critic: bool
    #: V, where the backup owns one
    value: bool = False
