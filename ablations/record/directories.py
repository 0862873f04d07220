"""New directories of results: claimed before training, filled beside, and renamed into place when they are whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from ablations.record.integrity import settle
from core.options import OptionError


def claim(directory: Path) -> None:
    """Make sure, before training, that `directory` is free and can be made; writes nothing that stays.

    Raises `OptionError` for what is in the way, also where the system refuses.
    """
    with writable(directory):
        _claim(directory)


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Where the system refuses something of `directory`, the `OptionError` of it."""
    try:
        yield
    except OSError as error:
        raise OptionError(f"--out {directory}: cannot be written ({error.strerror})") from None


def is_read_only(directory: Path) -> bool:
    """Whether a directory that is there cannot be written into: what it holds can still be shown."""
    return directory.is_dir() and not os.access(directory, os.W_OK)


def _claim(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OptionError(f"--out {directory}: already exists; name a new directory")
    if directory.is_symlink() and not directory.exists():
        raise OptionError(f"--out {directory}: is a link to nothing; name a new directory")
    if directory.absolute().is_mount():
        raise OptionError(f"--out {directory}: is a file system of its own; name a new directory in it")
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OptionError(f"--out {directory}: cannot be written, {parent} is not a writable directory")
    tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=parent).cleanup()


@contextmanager
def new_directory(directory: Path, alone: AbstractContextManager[None] | None = None) -> Iterator[Path]:
    """A fresh directory to fill, which takes the name `directory` when the block ends well, and vanishes otherwise.

    Where there is one already, its files take the place of those of their names, the record last. `alone`: entered for
    as long as that takes.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    partial.chmod(0o755)
    try:
        yield partial
        settle(partial)
        with alone or nullcontext():
            if directory.exists():
                for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
                    path.replace(directory / path.name)
                settle(directory)
            else:
                partial.rename(directory)
        settle(directory.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
