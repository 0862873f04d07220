"""Processes that share a directory, on one machine or several: who trains a run, and who may change what others read.

The system lets go of a lock when its process ends, however that ends. Where a file system has none, nobody is kept out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

#: seconds within which a process that but looks at a directory, or begins a comparison in it, is through
SOON = 5.0
#: seconds after which one that draws the figures of a comparison is taken to hang
PATIENCE = 600.0


@contextmanager
def taken(directory: Path, wait: float | None = None, by: str = "") -> Iterator[bool]:
    """Whether the run of `directory` is this process's until the block ends; False where another process is at it.

    `wait`: seconds to wait for it, by default as long as one that but looks needs it. `by`: what the others may read of
    it meanwhile, with `holder`.
    """
    with held(_beside(directory), SOON if wait is None else wait, by) as ours:
        yield ours


def holder(directory: Path) -> str:
    """What the process that trains the run of `directory` says of it; empty where it said nothing, or is gone."""
    try:
        return _beside(directory).read_text()
    except OSError:
        return ""


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Until the block ends, no run of the comparison in `directory` comes, and nobody else draws its figures."""
    with held(directory / ".lock", PATIENCE):
        yield


def _beside(directory: Path) -> Path:
    return directory.parent / f".{directory.name}.lock"


@contextmanager
def held(path: Path, wait: float, by: str = "") -> Iterator[bool]:
    """The lock that a file is, there as long as it is held; False where another has it, `wait` seconds on."""

    def say(file: int) -> None:
        os.ftruncate(file, 0)
        os.write(file, by.encode())

    lock = FileLock(path, timeout=wait, mode=0o666, fallback_to_soft=False, on_acquired=say)
    ours = True
    try:
        lock.acquire()
    except Timeout:
        ours = False
    except PermissionError:
        # another user's, or a directory in which nothing can be made
        ours = not path.exists()
    except (OSError, NotImplementedError):
        pass
    if not ours:
        yield False
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
