"""Compiled libraries kept from one process to the next, each loaded only as it was built.

They lie in a folder that only its owner can open, under a name that ends in the SHA-256 digest of their content. A file
whose content has another digest, that others own or could have written, or that is no plain file, counts as missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without POSIX locks
    fcntl = None  # type: ignore[assignment]

#: what group and others may do to a file that is trusted: read it
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
#: how the directories of compilations begin; `tmp`: those of earlier versions
BUILDING = "building-"


def folder() -> Path:
    """The private folder of this user's libraries, made where it is missing. Raises `OSError` where none can be had."""
    place = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "policy-ablation"
    place.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if stat.S_ISDIR(found.st_mode) and _is_ours(found):
        if stat.S_IMODE(found.st_mode) != 0o700:
            place.chmod(0o700)
        if found.st_mode & WRITABLE_BY_OTHERS:
            # others could have put there what they liked, digests included
            _empty(place)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or not _is_ours(found) or found.st_mode & WRITABLE_BY_OTHERS:
        raise PermissionError(f"{place} is not a folder that this user alone can write; set XDG_CACHE_HOME to another")
    return place


def find(place: Path, key: str) -> Path | None:
    """The library kept under `key`, its content checked against its digest; None where there is none to trust."""
    return next((path for path in sorted(place.glob(f"{key}-*.so")) if _is_whole(path, key)), None)


def keep(built: Path, place: Path, key: str) -> Path:
    """Put a library just built in its place, and remove what is damaged under its key."""
    with built.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    built.chmod(0o600)
    to = place / f"{key}-{digest}.so"
    for other in place.glob(f"{key}*.so"):
        if not _is_whole(other, key):
            _remove(other)
    return built.replace(to)


@contextmanager
def workplace(place: Path) -> Iterator[Path]:
    """A directory to build in, removed when the block ends. One that a killed process left goes first."""
    for left in [*place.glob(f"{BUILDING}*"), *place.glob("tmp*")]:
        with _locked(left, wait=False) as ended:
            if ended:
                shutil.rmtree(left, ignore_errors=True)
    while True:
        own = Path(tempfile.mkdtemp(prefix=BUILDING, dir=place))
        with _locked(own, wait=True):
            # another process may have taken it for one left, before it was locked
            if not own.exists():
                continue
            try:
                yield own
            finally:
                shutil.rmtree(own, ignore_errors=True)
            return


@contextmanager
def _locked(directory: Path, *, wait: bool) -> Iterator[bool]:
    """Whether the directory's lock, which ends with its process, is this process's until the block ends."""
    if fcntl is None:
        yield False
        return
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _is_whole(path: Path, key: str) -> bool:
    """Whether a plain file that only this user could write has the content that its name tells."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or not _is_ours(found) or found.st_mode & WRITABLE_BY_OTHERS:
                return False
            return path.name == f"{key}-{hashlib.file_digest(file, 'sha256').hexdigest()}.so"
    except OSError:
        return False


def _is_ours(found: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or found.st_uid == os.geteuid()


def _empty(place: Path) -> None:
    for path in place.iterdir():
        _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
