"""Your own data damaged by the grammar of tests/test_malformed.py: one line, or arrays that are finite and fit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from d4rl_builders import arrays
from hypothesis import given, settings
from test_malformed import SUPPRESSED, damage, damaged, one_line_or_sound, save, spoil

from tasks import make_task

h5py = pytest.importorskip("h5py")


def read(path: Path) -> bool:
    return one_line_or_sound(lambda: make_task(f"file:{path}").data())


def of_npz(folder: Path, changes) -> bool:
    file = folder / "own.npz"
    np.savez_compressed(file, **damaged(arrays(), changes))
    spoil(file, changes)
    return read(file)


def of_hdf5(folder: Path, changes) -> bool:
    file = folder / "own.hdf5"
    save(file, damaged(arrays(), changes))
    spoil(file, changes)
    return read(file)


def of_episodes(folder: Path, changes) -> bool:
    """One group is sound, the other damaged; the last observation of each is kept."""
    file = folder / "own.hdf5"
    whole = arrays((15,), terminal=())
    whole["observations"] = np.append(whole["observations"], whole["observations"][:1], 0)
    with h5py.File(file, "w") as made:
        for name, content in (("episode_0", whole), ("episode_1", damaged(whole, changes))):
            for key, array in content.items():
                made[f"{name}/{key}"] = array
            made.require_group(name)
    spoil(file, changes)
    return read(file)


def of_arrow(write):
    def made(folder: Path, changes) -> bool:
        pa = pytest.importorskip("pyarrow")
        content = damaged(arrays(), changes)
        length = max((len(array) for array in content.values() if np.ndim(array)), default=0)
        columns = {}
        for key, array in content.items():
            # a table has columns of one length: what is short misses its last values
            rows = list(np.asarray(array)) if np.ndim(array) else [array]
            rows = [row.tolist() for row in rows]
            try:
                columns[key] = pa.array(rows + [None] * (length - len(rows)))
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                continue  # numbers that Arrow does not have
        file = folder / "own.parquet"
        write(pa.table(columns), file)
        spoil(file, changes)
        return read(file)

    return made


def as_parquet(table, file: Path) -> None:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, file)


def as_arrow(table, file: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
        writer.write_table(table)


def of_folder(folder: Path, changes) -> bool:
    """A sound file, a damaged one, and by the changes what lies about in folders."""
    place = folder / "folder"
    place.mkdir(exist_ok=True)
    for left in place.iterdir():
        left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink()
    np.savez(place / "a.npz", **arrays())
    save(place / "b.h5", damaged(arrays((4, 4), terminal=()), changes))
    spoil(place / "b.h5", changes)
    for kind, _, seed in changes:
        name = place / f"odd{seed % 2}.hdf5"
        if kind != "describe" or os.path.lexists(name):
            continue
        (os.mkfifo, Path.mkdir, Path.touch, lambda path: path.symlink_to(path.name), lambda path: path.symlink_to("/"))[
            seed % 5
        ](name)
    return read(place)


READERS = {
    "npz": of_npz,
    "HDF5": of_hdf5,
    "HDF5 by episodes": of_episodes,
    "Parquet": of_arrow(as_parquet),
    "Arrow": of_arrow(as_arrow),
    "folder": of_folder,
}


@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_refused_is_sound(reader, tmp_path):
    @settings(max_examples=12, deadline=None, suppress_health_check=SUPPRESSED)
    @given(damage())
    def check(changes):
        READERS[reader](tmp_path, changes)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_refused_is_sound_at_length(reader, tmp_path):
    @settings(max_examples=1000, deadline=None, suppress_health_check=SUPPRESSED)
    @given(damage())
    def check(changes):
        READERS[reader](tmp_path, changes)

    check()


@pytest.mark.parametrize("reader", READERS)
def test_the_set_that_is_damaged_is_sound(reader, tmp_path):
    assert READERS[reader](tmp_path, [])
