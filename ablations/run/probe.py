"""What a run will take: bytes, and seconds of training by a few measured steps that leave nothing behind."""

from __future__ import annotations

import time
from typing import NamedTuple

import torch

from ablations.plan.config import RunConfig
from ablations.run import frozen, memory
from core.rng import SeedRng
from tasks import Task
from trainers import captured
from trainers.trainer import Trainer

#: steps before the clock starts: what is built or allocated once belongs to no step
WARM_UP = 5
#: steps between two looks at the clock
STRIDE = 5
#: seconds of steps that are measured, and at most so many steps
MEASURED, MOST = 0.5, 200


class Probe(NamedTuple):
    """Of a run with all its seeds: bytes while it trains, and seconds of its training."""

    bytes: int
    seconds: float


def measure(run: RunConfig, task: Task, device: torch.device) -> Probe:
    """Take some steps of the run on its data and throw them away. Evaluations are not measured."""
    trainer = Trainer(run.parts, run.trainer, task.spec, run.seeds, needs_critic=run.needs_critic, device=device)
    frozen.give(run, trainer, task)
    if not run.has_exact_critic:
        captured.replay(trainer)
    dataset, rng = task.dataset().to(device), SeedRng(run.seeds, "train", device)
    trainer.train(dataset, WARM_UP, rng)
    _wait(device)
    began, steps = time.perf_counter(), 0
    while steps < MOST and time.perf_counter() - began < MEASURED:
        trainer.train(dataset, STRIDE, rng)
        _wait(device)
        steps += STRIDE
    each = (time.perf_counter() - began) / steps
    needed = memory.of_one_seed(run, task.spec, device) * len(run.seeds)
    memory.release(device)
    return Probe(needed, each * run.budget.steps)


def _wait(device: torch.device) -> None:
    """A GPU's steps are queued; wait until they are done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
