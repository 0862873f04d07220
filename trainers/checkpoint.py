"""A trainer's whole state in one file: networks, targets, optimizers, step, and where the randomness stands.

A file ends in a line of JSON: the version of its format, and length and SHA-256 digest of all before that line. Files
of earlier versions have none. `torch.load` reads either, as a zip archive may be followed by other bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import nn

from core.options import OptionError, first_line
from core.rng import SeedRng
from critics.backups import ValueBackup
from trainers.trainer import Trainer

#: of the files written here
FORMAT = 1
#: bytes of the last line
SEAL = 160
#: what reading a file raises that is not there, is damaged, or is something else
UNREADABLE = (
    *(OSError, EOFError, ValueError, RuntimeError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(AssertionError, MemoryError, pickle.UnpicklingError, struct.error),
)


def read(path: Path, *, sealed: bool = False) -> dict[str, Any]:
    """What `write` wrote, on the CPU; `sealed`: a file without a digest is not read either.

    Raises one of `UNREADABLE` where that cannot be, `ValueError` where the content has another digest.
    """
    if not path.is_file():
        # opening a pipe would wait for its writer
        raise FileNotFoundError(errno.ENOENT, "not a file", str(path))
    with path.open("rb") as file:
        seal = _seal(file)
        if seal is None and sealed:
            raise ValueError("it has no checksum")
        if seal is not None:
            _check(file, seal)
        file.seek(0)
        return torch.load(file, weights_only=True, map_location="cpu")


def _seal(file: BinaryIO) -> dict[str, Any] | None:
    """The last line of a file, if that is what `write` ends a file with."""
    length = file.seek(0, os.SEEK_END) - SEAL
    if length < 0:
        return None
    file.seek(length)
    try:
        seal = json.loads(file.read(SEAL))
        return {"format": int(seal["format"]), "bytes": int(seal["bytes"]), "sha256": str(seal["sha256"])}
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _check(file: BinaryIO, seal: dict[str, Any]) -> None:
    """Raise `ValueError` where a file is not what its last line says."""
    if seal["format"] != FORMAT:
        raise ValueError(f"its format is {seal['format']}, not {FORMAT}")
    digest, left = hashlib.sha256(), file.seek(0, os.SEEK_END) - SEAL
    if left != seal["bytes"]:
        raise ValueError("its length is not as written")
    file.seek(0)
    while block := file.read(min(left, 2**20)):
        digest.update(block)
        left -= len(block)
    if digest.hexdigest() != seal["sha256"]:
        raise ValueError("its checksum differs")


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
    """Write beside, read back, then rename: a file is whole or not there. What lay on a GPU can be read without one."""
    partial = path.with_suffix(".partial")
    try:
        with partial.open("w+b") as file:
            _write(content, file)
            file.flush()
            os.fsync(file.fileno())
            seal = _seal(file)
            if seal is None:
                raise ValueError("its last line is not as written")
            _check(file, seal)
        partial.replace(path)
    except ValueError as error:
        raise OSError(errno.EIO, f"what was written is not read back: {error}", str(path)) from None
    finally:
        partial.unlink(missing_ok=True)


class _Hashed:
    """A file that hashes what is written into it, and remembers why it could not be."""

    def __init__(self, file: BinaryIO):
        self._file, self.digest, self.length = file, hashlib.sha256(), 0
        self.failure: OSError | None = None

    def write(self, block: Any) -> int:
        self._remembering(lambda: self._file.write(block))
        self.digest.update(block)
        self.length += memoryview(block).nbytes
        return len(block)

    def flush(self) -> None:
        self._remembering(self._file.flush)

    def _remembering(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self.failure = self.failure or error
            raise


def _write(content: dict[str, Any], file: BinaryIO) -> None:
    hashed = _Hashed(file)
    try:
        torch.save(_on_cpu(content), hashed)  # type: ignore[arg-type]
    except (OSError, RuntimeError) as error:  # torch's own says where in its code, not why
        failure = hashed.failure
        number = failure.errno if failure and failure.errno else errno.EIO
        raise OSError(number, os.strerror(number) if failure else first_line(error), file.name) from None
    seal = json.dumps({"format": FORMAT, "bytes": hashed.length, "sha256": hashed.digest.hexdigest()})
    file.write(seal.encode().ljust(SEAL - 1) + b"\n")


def _on_cpu(value: Any) -> Any:
    """The same values on the CPU, in objects of their own, so that equal states are files of equal bytes."""
    if isinstance(value, dict):
        return {_on_cpu(key): _on_cpu(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_on_cpu(one) for one in value]
    if isinstance(value, str):
        # a pickle writes a text once for each object that it is
        return sys.intern(str(value))
    return value.cpu() if isinstance(value, torch.Tensor) else value


def put(stored: dict[str, Any], trainer: Trainer, rng: SeedRng) -> None:
    """Restore a trainer and rng built as those of `stored` were; training then goes on as if it had not stopped."""
    for name, part in _stateful(trainer).items():
        part.load_state_dict(stored["state"][name])
    trainer.step = stored["step"]
    trainer.tell(trainer.step - 1)
    rng.load_state_dict(stored["rng"])


def put_replica(stored: dict[str, Any], trainer: Trainer, row: int) -> None:
    """Give a trainer of one replica the networks of the `row`-th of `stored`: to act, and not to train on."""
    for name, part in _stateful(trainer).items():
        if isinstance(part, nn.Module) and name in stored["state"]:
            part.load_state_dict({key: _row(tensor, row) for key, tensor in stored["state"][name].items()})
    trainer.step = stored["step"]
    trainer.tell(trainer.step - 1)


def _row(tensor: torch.Tensor, row: int) -> torch.Tensor:
    return tensor[[row]] if tensor.dim() else tensor


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
