"""Ways in which a file on a disk comes to be another than was written, for tests of what reads it."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

#: what is done to a file, given its place, the same file of another run, and where to look for the bytes hit
Damage = Callable[[Path, Path, random.Random], None]


def _replaced(content: bytes) -> Damage:
    return lambda path, other, draw: _put(path, content)


def _put(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _cut(path: Path, other: Path, draw: random.Random) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: draw.randrange(len(whole))])


def _flip(path: Path, other: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def _page(path: Path, other: Path, draw: random.Random) -> None:
    """A page of the disk that was never written."""
    content = bytearray(path.read_bytes())
    start = draw.randrange(len(content))
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def _twice(path: Path, other: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() * 2)


def _swapped(path: Path, other: Path, draw: random.Random) -> None:
    _put(path, other.read_bytes())


def _link(to: str) -> Damage:
    def link(path: Path, other: Path, draw: random.Random) -> None:
        path.unlink()
        path.symlink_to(to.format(other=other, name=path.name))

    return link


def _missing(path: Path, other: Path, draw: random.Random) -> None:
    path.unlink()


def _directory(path: Path, other: Path, draw: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, other: Path, draw: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


FIXED: dict[str, Damage] = {
    "empty": _replaced(b""),
    "text": _replaced(b"this is a note\n"),
    "page of the web": _replaced(b"<!DOCTYPE html><html><body>404</body></html>"),
    "deep JSON": _replaced(b"[" * 200_000),
    "deep JSON that ends": _replaced(b'{"label": ' + b"[" * 900 + b"]" * 900 + b"}"),
    "a list": _replaced(b"[1]"),
    "not text": _replaced(bytes(range(128, 256)) * 8),
    "swapped": _swapped,
    "twice": _twice,
    "link to another's": _link("{other}"),
    "link to nothing": _link("/nowhere/at/all"),
    "link to itself": _link("{name}"),
    "link without end": _link("/dev/zero"),
    "missing": _missing,
    "a directory": _directory,
    "a pipe": _pipe,
}
DRAWN: dict[str, Damage] = {"cut": _cut, "flip": _flip, "page": _page}
