"""Where the files of D4RL are: $D4RL_DATASET_DIR, then ~/.d4rl/datasets, else downloaded to the first of them.

A download goes to `NAME.part`, resumes there after an interruption, is checked (size, digest where one is known,
readable, keys and shapes) and only then takes the name `NAME`; nothing half is ever found under it. Addresses are
https, also where a server sends one elsewhere. D4RL publishes no digests; where a file `NAME.sha256` lies in the folder
(as `sha256sum` writes it), what is fetched must have it.
"""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from core import locks
from core.bars import progress_bar
from core.options import OptionError
from tasks.d4rl_names import Entry
from tasks.validation import BadFile, in_words

BLOCK = 1 << 20
TIMEOUT = 30.0
#: seconds to wait for another process that fetches the same file
PATIENCE = 3600.0


#: what addresses must begin with
SCHEME = "https://"
#: bytes of a download: the largest of D4RL's and OGBench's files are about a gigabyte
LARGEST = 8 << 30


def folders() -> list[Path]:
    """Where files are looked for, in order."""
    named = os.environ.get("D4RL_DATASET_DIR")
    return [*([Path(named).expanduser()] if named else []), Path("~/.d4rl/datasets").expanduser()]


def locate(entry: Entry, check: Callable[[Path], None], nearest: str) -> Path:
    """The file of a dataset of D4RL, as `find` finds it."""
    return find(entry.name, entry.url, folders(), check, nearest)


def find(task: str, url: str, places: list[Path], check: Callable[[Path], None], nearest: str) -> Path:
    """The file of a task, downloaded to the first of `places` where it is in none. `check` raises for a bad one.

    Raises `OptionError`: one line with the places looked at, the address, and the `nearest` task that needs no file.
    """
    name = url.rpartition("/")[2]
    for folder in places:
        if (folder / name).exists():
            return folder / name
    target = places[0] / name
    try:
        download(url, target, check)
    except (urllib.error.URLError, HTTPException, OSError) as error:
        looked = " and ".join(str(folder) for folder in places)
        told = isinstance(error, urllib.error.HTTPError)  # its reason lacks the status
        reason = error if told else getattr(error, "reason", error)
        raise OptionError(
            f"{task}: no {name} in {looked}, and {url} cannot be fetched ({reason}); "
            f"download it there by hand, or use --task {nearest}, which makes its own data"
        ) from None
    return target


def download(url: str, target: Path, check: Callable[[Path], None]) -> None:
    """Fetch `url` to `target`: resumed, verified, atomic. Raises `OptionError`, `URLError` or `OSError`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(target.with_name(f".{target.name}.lock"), PATIENCE) as ours:
        if not ours:
            raise OptionError(f"{url}: another process has been fetching it to {target.parent} for an hour")
        if not target.exists():
            _download(url, target, check)


def _download(url: str, target: Path, check: Callable[[Path], None]) -> None:
    part = target.with_name(target.name + ".part")
    size = _fetch(url, part)
    if size is not None and part.stat().st_size != size:
        got = part.stat().st_size
        if got > size:
            part.unlink()
        raise OptionError(f"{url}: got {got} bytes of {size}; run again to resume the download")
    try:
        _check_digest(part, target.with_name(f"{target.name}.sha256"))
        check(part)
    except OptionError as error:
        part.unlink()
        raise OptionError(f"{url}: the download was thrown away: {error}") from None
    part.rename(target)


def _check_digest(part: Path, known: Path) -> None:
    """Raises `BadFile` where a digest is known and the file has another."""
    if not known.exists():
        return
    wanted = known.read_text(errors="replace").split()[:1]
    with part.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if wanted != [got]:
        raise BadFile(f"its sha256 is {got}, and {known} says {' '.join(wanted) or 'nothing'}")


class _StaysSafe(urllib.request.HTTPRedirectHandler):
    """Follows a server that sends elsewhere only to an address as safe."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _refuse_unsafe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_unsafe(url: str) -> None:
    if not url.startswith(SCHEME):
        raise urllib.error.URLError(f"addresses must begin with {SCHEME}, got {url[:200]}")


def _fetch(url: str, part: Path) -> int | None:
    """Append what is missing of `url` to `part`; returns the whole size where the server tells it."""
    _refuse_unsafe(url)
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.build_opener(_StaysSafe).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        whole = _whole(error.headers.get("Content-Range"))
        if error.code == 416 and whole is not None:  # nothing is missing
            return whole
        raise
    with answer:
        resumed = answer.status == 206
        whole = _whole(answer.headers.get("Content-Range")) if resumed else _length(answer.headers)
        have = have if resumed else 0
        _refuse_larger(url, whole or 0)
        with (
            part.open("ab" if resumed else "wb") as file,
            progress_bar(total=whole, initial=have, unit="B", unit_scale=True, desc=part.stem) as bar,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
                have += len(block)
                _refuse_larger(url, have)
                bar.update(len(block))
    return whole


def _refuse_larger(url: str, size: int) -> None:
    if size > LARGEST:
        raise OptionError(f"{url}: is {in_words(size)} or more; expected at most {in_words(LARGEST)}")


def _whole(content_range: str | None) -> int | None:
    """The total of `bytes 5-9/10`."""
    total = (content_range or "").rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _length(headers) -> int | None:
    length = headers.get("Content-Length")
    return int(length) if length else None
