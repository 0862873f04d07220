"""Files of your own data as tables of columns: npz, HDF5, Parquet and Arrow, told by what they begin with.

A file is one table of steps, or in HDF5 one group for each episode. Several files or a folder are read in the natural
order of their names (`episode_2` before `episode_10`). Nothing is loaded before it is known which columns are wanted.
"""

from __future__ import annotations

import functools
import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks import containers
from tasks.own import arrow
from tasks.own.keys import FIELDS, natural
from tasks.validation import BadFile

#: what a file begins with
MAGIC = {
    b"PK\x03\x04": "npz",
    b"\x89HDF\r\n\x1a\n": "HDF5",
    b"PAR1": "Parquet",
    b"ARROW1": "Arrow",
}
SUFFIXES = (".npz", ".hdf5", ".h5", ".parquet", ".pq", ".arrow", ".feather")
#: groups of a HDF5 file are looked through so far down for episodes
DEEPEST_EPISODE = 3
MOST_FILES = 100_000


@dataclass(frozen=True)
class Table:
    """Columns of one length, or those of one episode with an observation more."""

    source: str
    names: tuple[str, ...]
    #: the columns of these names
    load: Callable[[Sequence[str]], dict[str, np.ndarray]]
    #: whether it is a single episode
    is_episode: bool = False


def paths_of(place: str) -> list[Path]:
    """The files that a path, a folder or a pattern names, in natural order. Raises `BadFile` where there are none."""
    path = Path(place).expanduser()
    try:
        if path.is_dir():
            found = [one for one in path.iterdir() if one.suffix.lower() in SUFFIXES and not one.name.startswith(".")]
            if not found:
                raise BadFile(f"{path}: is a folder without data; expected files {', '.join(SUFFIXES)}, or Minari's")
        elif not path.exists() and set(place) & set("*?["):
            found = [Path(one) for one in glob.glob(str(path))]
            if not found:
                raise BadFile(f"{path}: no file matches")
        else:
            found = [path]
    except (OSError, ValueError) as error:
        raise BadFile(f"{place}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(found) > MOST_FILES:
        raise BadFile(f"{path}: holds {len(found)} files; at most {MOST_FILES} are read, join some")
    return sorted(found, key=lambda one: natural(one.name))


def tables(path: Path, actions: str | None = None) -> Iterator[Table]:
    """The tables of a file; `actions`: what the user calls that column, by which episodes' groups are found."""
    containers.plain_file(path)
    with containers.boundary(path, "a file"), path.open("rb") as file:
        begin = file.read(8)
    kind = next((kind for magic, kind in MAGIC.items() if begin.startswith(magic)), None)
    if kind == "npz":
        names = containers.names_in_npz(path)
        yield Table(str(path), tuple(names), lambda wanted: containers.npz(path, wanted.__contains__))
    elif kind == "HDF5":
        yield from _hdf5(path, actions)
    elif kind in ("Parquet", "Arrow"):
        yield arrow_table(path, kind)
    else:
        raise BadFile(f"{path}: is none of npz, HDF5, Parquet and Arrow, by what it begins with")


def arrow_table(path: Path, kind: str) -> Table:
    """The table of a Parquet or Arrow file."""
    names = arrow.names(path, kind)
    return Table(str(path), tuple(names), lambda wanted: arrow.columns(path, kind, wanted))


def _hdf5(path: Path, actions: str | None) -> Iterator[Table]:
    """One table of the whole file, or one for each group that has actions."""
    with containers.hdf5(path) as file:
        arrays = _datasets(file)
    usual = (actions.partition("+")[0],) if actions else FIELDS["actions"]
    if any(name in arrays for name in usual):
        yield Table(str(path), tuple(arrays), lambda wanted: _load(path, "", wanted))
        return
    groups = {
        group
        for name in arrays
        for group in _parents(name)
        if any(f"{group}/{one}" in arrays for one in usual) and group.count("/") < DEEPEST_EPISODE
    }
    if not groups:
        # what is missing is said by who looks for it
        yield Table(str(path), tuple(arrays), lambda wanted: _load(path, "", wanted))
    below: dict[str, list[str]] = {group: [] for group in groups}
    for name in arrays:
        for group in _parents(name):
            if group in below:
                below[group].append(name[len(group) + 1 :])
    with containers.hdf5(path) as file:
        for group in sorted(groups, key=natural):
            source = f"{path}: {group}"
            load = functools.partial(_arrays, path, file[group])
            yield Table(source, tuple(below[group]), load, is_episode=True)


def _parents(name: str) -> Iterator[str]:
    parts = name.split("/")[:-1]
    yield from ("/".join(parts[: k + 1]) for k in range(len(parts)))


def _datasets(file: Any) -> dict[str, None]:
    """Names of all arrays, in order; `containers.hdf5` has refused links and circles."""
    import h5py

    found: dict[str, None] = {}
    file.visititems(lambda name, item: found.update({name: None}) if isinstance(item, h5py.Dataset) else None)
    return found


def _load(path: Path, at: str, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    with containers.hdf5(path) as file:
        return _arrays(path, file[at] if at else file, wanted)


def _arrays(path: Path, group: Any, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    found = {}
    for name in wanted:
        item = group[name]
        if item.shape is None:
            raise BadFile(f"{path}: {name} is not an array")
        found[name] = np.asarray(item[()])
    return found
