"""What is timed: a task's sizes and a method, made into steps of the trainer and steps of the plain reference.

Data are random; only sizes matter. `S` is the number of seeds the trainer carries at once; the reference has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.reference import DiffusionQL, Settings, TorchRng
from benchmarks.reference_classes import Cloning, CVAEActor, GaussianActor
from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from critics import BACKUPS, CriticConfig
from policies import POLICIES
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig, captured
from trainers.trainer import Parts, Trainer

#: takes this many steps
Steps = Callable[[int], object]
DATASET = 100_000


@dataclass(frozen=True)
class Case:
    """One method at one size."""

    policy: str = "diffusion"
    obs_dim: int = 11
    act_dim: int = 3
    batch: int = 256
    hidden: int = 256
    T: int = 5
    time_dim: int = 16
    improvement: str = "q-max"
    eta: float = 1.0
    backup: str = "clipped-double-q"
    grad_norm: float | None = 5.0

    @property
    def needs(self) -> str | None:
        """The part this case waits for, where the testbed lacks it."""
        return None if self.backup in BACKUPS else f"backup {self.backup}"


HOPPER = Case()
BANDIT = Case(
    obs_dim=2, act_dim=2, batch=100, hidden=128, T=50, time_dim=4, eta=2.5, backup="reward-only", grad_norm=None
)
CASES: dict[str, Case] = {
    "hopper": HOPPER,
    "hopper-bc": replace(HOPPER, improvement="none", grad_norm=None),
    "hopper-T50": replace(HOPPER, T=50),
    "hopper-max-q": replace(HOPPER, backup="max-q"),
    "antmaze": replace(HOPPER, obs_dim=29, act_dim=8),
    "antmaze-max-q": replace(HOPPER, obs_dim=29, act_dim=8, backup="max-q"),
    "bandit": BANDIT,
    "bandit-bc": replace(BANDIT, improvement="none"),
    "bandit-bc-gaussian": replace(BANDIT, policy="gaussian", improvement="none"),
    "bandit-bc-cvae": replace(BANDIT, policy="cvae", improvement="none"),
}


def make_trainer(case: Case, seeds: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Trainer:
    options: dict[str, Any] = {"diffusion": {"T": case.T, "time_dim": case.time_dim}, "gaussian": {"bound": "none"}}
    parts = Parts(
        policy=POLICIES[case.policy](**options.get(case.policy, {})),
        regularizer=REGULARIZERS["bc"](),
        improvement=IMPROVEMENTS[case.improvement](**({"eta": case.eta} if case.improvement == "q-max" else {})),
        backup=BACKUPS[case.backup](),
        critic=CriticConfig(),
        network=NetworkConfig(hidden=case.hidden),
    )
    config = TrainerConfig(batch=case.batch, grad_norm=case.grad_norm, ema_start=0)
    return Trainer(
        parts, config, TaskSpec("timed", case.obs_dim, case.act_dim), range(seeds), device=device, dtype=dtype
    )


def make_data(case: Case, device: torch.device) -> Transitions:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    n = DATASET
    act = normal(n, case.act_dim).tanh()
    return Transitions(
        normal(n, case.obs_dim), act, normal(n), normal(n, case.obs_dim), torch.full_like(act[:, 0], 0.99)
    )


def our_steps(case: Case, seeds: int, device: torch.device) -> Steps:
    """The trainer's own loop, batches and randomness included."""
    trainer, data = make_trainer(case, seeds, device), make_data(case, device)
    rng = SeedRng(range(seeds), "train", device)
    captured.replay(trainer)
    return lambda count: trainer.train(data, count, rng)


def reference_steps(case: Case, device: torch.device) -> Steps:
    """The reference's, likewise."""
    agent, data, rng = make_reference(case, device), make_data(case, device), TorchRng(0, str(device))
    return lambda count: learn(agent, data, case.batch, rng, count)


def make_reference(case: Case, device: torch.device) -> Any:
    """The reference's agent, its weights by torch's global generator."""
    same = ("obs_dim", "act_dim", "T", "hidden", "time_dim", "eta", "grad_norm")
    settings = Settings(
        **{name: getattr(case, name) for name in same},
        bc_only=case.improvement == "none",
        one_step=case.backup == "reward-only",
        max_q=10 if case.backup == "max-q" else 1,
        ema_start=0,
    )
    name = str(device)
    agents: dict[str, Callable[[], Any]] = {
        "diffusion": lambda: DiffusionQL(settings, name),
        "gaussian": lambda: Cloning(GaussianActor(settings), settings, name),
        "cvae": lambda: Cloning(CVAEActor(settings), settings, name),
    }
    return agents[case.policy]()


def learn(agent: Any, data: Transitions, batch: int, rng: TorchRng, count: int) -> None:
    """`count` steps of a reference's agent on batches drawn with replacement."""
    for _ in range(count):
        index = rng.integers(len(data.act), batch)
        fields = (data.obs, data.act, data.reward, data.next_obs, data.discount)
        agent.train_step(*[field[index] for field in fields], rng)
