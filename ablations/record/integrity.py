"""Records that can be verified: a run's `config.json` binds its files by SHA-256 digests, and itself by its own.

Nothing that lies on disk is believed because it parses. A file is opened only where it is one, so that a pipe does not
hang; what a record says is used only where it has the form of a record; and a name in it is never a path. Records of
earlier versions bind nothing: of these the form alone is checked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

from core.options import OptionError

#: the keys of a record that bind the record itself, and its files
OWN, FILES = "checksum", "files"
#: of a record, what two runs with the same results may differ in
MADE = ("environment", "seconds")
#: bytes; what is larger is no record
LARGEST_RECORD = 2**26
#: what reading a record that is none raises, besides what says so itself
UNREADABLE = (OSError, ValueError, LookupError, TypeError, RecursionError)


class Damaged(OptionError):
    """What lies on disk is not what was recorded; the message names it."""


def content(path: Path, most: int | None = None) -> bytes:
    """The bytes of a plain file, or of one that a link leads to. Raises `OSError` where it is none or is too large."""
    with _opened(path) as file:
        if most is not None and os.fstat(file.fileno()).st_size > most:
            raise OSError(f"{path} is not a file of a run")
        return file.read()


def digest(path: Path) -> str:
    """The SHA-256 digest of a plain file. Raises `OSError` where it is none."""
    with _opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A plain file, open; opening a pipe does not wait for its other end. Raises `OSError` where it is none."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(f"{path} is not a file of a run")
        yield file


def bound(directory: Path) -> dict[str, str]:
    """The digests of all files in a directory that a record is about to be written for, each settled on the disk."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file())
    for name in names:
        settle(directory / name)
    return {name: digest(directory / name) for name in names}


def settle(path: Path) -> None:
    """Have the system write a file, or a directory's list of names, to the disk now."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        # some file systems have nothing to settle in a directory
        if not path.is_dir():
            raise
    finally:
        os.close(handle)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with its own digest; beside, then renamed: a file is whole or not there."""
    with beside(path) as partial:
        partial.write_text(json.dumps(_signed(json.loads(json.dumps(record))), indent=2) + "\n")
        settle(partial)
    settle(path.parent)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path to write to, whose file takes the name `path` when the block ends well, and vanishes otherwise.

    What had that name is replaced: where it was a link, nothing is written through it.
    """
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """What `write_json` wrote, without its digest; `remedy`: what to do where that cannot be.

    Raises `FileNotFoundError` where nothing is there, `Damaged` where it has another digest or is no record at all.
    """
    try:
        record = json.loads(content(path, LARGEST_RECORD))
        if not isinstance(record, dict):
            raise TypeError
        plain, as_written = unsigned(record)
        if not as_written:
            raise Damaged(f"{path} is damaged: its checksum differs; {remedy}")
    except Damaged:
        raise
    except UNREADABLE:
        if not os.path.lexists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from None
        raise Damaged(f"{path} is damaged: it is no record; {remedy}") from None
    return plain


def checked(run: Path, name: str, record: Mapping[str, Any]) -> bytes:
    """The bytes of a run's file, which are those that its record binds, where it binds any.

    Raises `OSError` where there is no such file, `Damaged` where it is another.
    """
    found = content(run / name)
    promised = record.get(FILES)
    if promised is not None and promised.get(name) != hashlib.sha256(found).hexdigest():
        raise damaged(run, name)
    return found


def damaged(run: Path, name: str) -> Damaged:
    """What is said of a file that is not the one its record binds."""
    return Damaged(
        f"{run}: its {name} cannot be read; remove that directory and repeat (it is not the file that was recorded)"
    )


def refuse_damaged(run: Path, record: Mapping[str, Any]) -> list[str]:
    """Raise `Damaged` where a file of a run is not what its record binds; returns the names of those missing."""
    missing = []
    for name, promised in record.get(FILES, {}).items():
        if not (run / name).exists():
            missing.append(name)
        elif not (run / name).is_file() or digest(run / name) != promised:
            raise damaged(run, name)
    return missing


def say_missing(run: Path, record: Mapping[str, Any]) -> None:
    """Say which files of a run are not there any more. Raises `Damaged` where one is another than was recorded."""
    missing = refuse_damaged(run, record)
    if missing:
        print(f"{record['label']}: {', '.join(missing)} is not there any more ({run})", file=sys.stderr)


def _signed(plain: dict[str, Any]) -> dict[str, Any]:
    """A record with its digests: of how it was made within `environment`, and of all else, which equal runs share."""
    made = {key: plain[key] for key in MADE if key in plain}
    signed = {**plain, OWN: _digest({key: value for key, value in plain.items() if key not in MADE})}
    if isinstance(made.get("environment"), dict):
        signed["environment"] = {**made["environment"], OWN: _digest(made)}
    return signed


def unsigned(record: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """A record without its digests, and whether it has those that it must have; one of an earlier version has none."""
    plain = {key: value for key, value in record.items() if key != OWN}
    if isinstance(plain.get("environment"), dict):
        plain["environment"] = {key: value for key, value in plain["environment"].items() if key != OWN}
    signed = OWN in record or FILES in record
    return plain, not signed or _signed(plain) == record


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
