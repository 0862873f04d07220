"""A trainer's whole state in one file: networks, targets, optimizers, step, and where the randomness stands."""

from __future__ import annotations

from pathlib import Path

import torch

from core.rng import SeedRng
from trainers.trainer import Trainer

MODULES = ("policy", "critic", "target_policy", "target_critic", "optimizer", "critic_optimizer")


def save(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Write beside, then rename: a checkpoint is whole or not there."""
    state = {name: getattr(trainer, name).state_dict() for name in _present(trainer)}
    partial = path.with_suffix(".partial")
    torch.save({"state": state, "step": trainer.step, "rng": rng.state_dict()}, partial)
    partial.replace(path)


def load(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Restore a trainer and rng built as the saved ones were; training then goes on as if it had not stopped."""
    stored = torch.load(path, weights_only=True, map_location="cpu")
    for name in _present(trainer):
        getattr(trainer, name).load_state_dict(stored["state"][name])
    trainer.step = stored["step"]
    rng.load_state_dict(stored["rng"])


def _present(trainer: Trainer) -> list[str]:
    return [name for name in MODULES if getattr(trainer, name) is not None]
