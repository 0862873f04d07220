"""A trainer's whole state in one file: networks, targets, optimizers, step, and where the randomness stands."""

from __future__ import annotations

import errno
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from core.options import OptionError, first_line
from core.rng import SeedRng
from critics.backups import ValueBackup
from trainers.trainer import Trainer

#: what reading a file raises that is not there, is damaged, or is something else
UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, LookupError, pickle.UnpicklingError)


def read(path: Path) -> dict[str, Any]:
    """What `write` wrote, on the CPU. Raises one of `UNREADABLE` where that cannot be."""
    return torch.load(path, weights_only=True, map_location="cpu")


def save(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Write the state into a file."""
    write(of(trainer, rng), path)


def load(path: Path, trainer: Trainer, rng: SeedRng) -> None:
    """Restore a trainer and rng from a file of `save`."""
    put(read(path), trainer, rng)


def of(trainer: Trainer, rng: SeedRng) -> dict[str, Any]:
    """The state, as tensors and plain values."""
    state = {name: part.state_dict() for name, part in _stateful(trainer).items()}
    return {"state": state, "step": trainer.step, "rng": rng.state_dict()}


def write(content: dict[str, Any], path: Path) -> None:
    """Write beside, then rename: a file is whole or not there. What lay on a GPU can be read without one."""
    partial = path.with_suffix(".partial")
    try:
        torch.save(_on_cpu(content), partial)
    except RuntimeError as error:  # torch's own where the disk is full
        raise OSError(errno.EIO, first_line(error), str(path)) from None
    partial.replace(path)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _on_cpu(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_on_cpu(one) for one in value]
    return value.cpu() if isinstance(value, torch.Tensor) else value


def put(stored: dict[str, Any], trainer: Trainer, rng: SeedRng) -> None:
    """Restore a trainer and rng built as those of `stored` were; training then goes on as if it had not stopped."""
    for name, part in _stateful(trainer).items():
        part.load_state_dict(stored["state"][name])
    trainer.step = stored["step"]
    rng.load_state_dict(stored["rng"])


def holds_critic(path: Path) -> bool:
    """Whether the checkpoint at `path` has a critic. Raises what reading raises where it is no checkpoint."""
    return "critic" in read(path)["state"]


def load_frozen_critic(path: Path, trainer: Trainer, rows: Sequence[int]) -> None:
    """Give `trainer` the critic of the checkpoint at `path`, which then takes no step; V too where a backup owns one.

    `rows`: which of the stored replicas, for each of the trainer's in turn.
    """
    stored = read(path)["state"]
    value = trainer.backup if isinstance(trainer.backup, ValueBackup) else None
    parts = {"critic": trainer.critic, "target_critic": trainer.target_critic, "backup": value}
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict({key: tensor[list(rows)] for key, tensor in stored[name].items()})
    trainer.critic_frozen = True


def join(paths: Sequence[Path], to: Path) -> None:
    """The checkpoint of all replicas of several, which were trained alike, in their order.

    Where some stopped early, its step is that of those that went on. Raises `OptionError` where one cannot be read.
    """
    stored = [_readable(path) for path in paths]
    state = _joined([one["state"] for one in stored])
    rng = [generator for one in stored for generator in one["rng"]]
    write({"state": state, "step": max(one["step"] for one in stored), "rng": rng}, to)


def _readable(path: Path) -> dict[str, Any]:
    try:
        return read(path)
    except UNREADABLE:
        raise OptionError(f"{path}: cannot be read; remove it to go without, or make the run again") from None


def _joined(values: Sequence[Any]) -> Any:
    """Tensors `[S, ...]` joined along S; what has no such axis is the same in all."""
    first = values[0]
    if isinstance(first, dict):
        return type(first)((key, _joined([value[key] for value in values])) for key in first)
    return torch.cat(list(values)) if isinstance(first, torch.Tensor) and first.dim() else first


def _stateful(trainer: Trainer) -> dict[str, Any]:
    targets = {"target_policy": trainer.target_policy, "target_critic": trainer.target_critic}
    optimizers = {f"{name}_optimizer": optimizer for name, optimizer in trainer.optimizers.items()}
    parts = {**trainer.learners(), **{name: part for name, part in targets.items() if part is not None}, **optimizers}
    return {**parts, "penalties": trainer.penalties}
