"""A trainer's whole state in one file: networks, targets, optimizers, step, and where the randomness stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from core.rng import SeedRng
from trainers.trainer import Trainer


def save(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Write beside, then rename: a checkpoint is whole or not there."""
    state = {name: part.state_dict() for name, part in _stateful(trainer).items()}
    partial = path.with_suffix(".partial")
    torch.save({"state": state, "step": trainer.step, "rng": rng.state_dict()}, partial)
    partial.replace(path)


def load(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Restore a trainer and rng built as the saved ones were; training then goes on as if it had not stopped."""
    stored = torch.load(path, weights_only=True, map_location="cpu")
    for name, part in _stateful(trainer).items():
        part.load_state_dict(stored["state"][name])
    trainer.step = stored["step"]
    rng.load_state_dict(stored["rng"])


def _stateful(trainer: Trainer) -> dict[str, Any]:
    targets = {"target_policy": trainer.target_policy, "target_critic": trainer.target_critic}
    optimizers = {f"{name}_optimizer": optimizer for name, optimizer in trainer.optimizers.items()}
    return {**trainer.learners(), **{name: part for name, part in targets.items() if part is not None}, **optimizers}
