"""Who trains a run: of processes that share a directory, on one machine or several, one at a time.

The system lets go of the lock when its process ends, however that ends. Where a file system has no locks, nobody is
kept out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def taken(directory: Path) -> Iterator[bool]:
    """Whether the run of `directory` is this process's until the block ends; False where another process is at it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    path = directory.parent / f".{directory.name}.lock"
    lock = FileLock(path, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):
        yield True
        return
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()
