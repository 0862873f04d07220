"""A corpus of damaged and wrong dataset files: each is refused in one line that names file, key and index."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from d4rl_builders import arrays, save

from core.options import OptionError
from tasks.d4rl_reader import read

h5py = pytest.importorskip("h5py")

#: name -> (what makes the file at this path, words its line must have)
CORPUS = {}


def case(name: str, *words: str):
    def register(make):
        CORPUS[name] = (make, words)
        return make

    return register


def changed(name: str, words, **changes) -> None:
    """A file equal to a good one but for these keys; None leaves a key out."""

    def make(path: Path) -> None:
        content = {**arrays(), **{key: value() if callable(value) else value for key, value in changes.items()}}
        save(path, {key: value for key, value in content.items() if value is not None})

    CORPUS[name] = (make, words)


def put(key: str, index, value):
    """A good array with one element replaced."""

    def make():
        array = arrays()[key].astype(np.float32 if key in ("terminals", "timeouts") else arrays()[key].dtype)
        array[index] = value
        return array

    return make


for key in ("observations", "actions", "rewards", "terminals"):
    changed(f"no {key}", (f"has no {key}",), **{key: None})
    changed(f"empty {key}", (key,), **{key: np.zeros((0, *arrays()[key].shape[1:]), arrays()[key].dtype)})
    changed(f"{key} are one number", (key,), **{key: np.float32(0)})
    changed(f"{key} are text", (key, "expected"), **{key: np.array([b"x"] * 15)})
    changed(f"{key} are complex", (key, "complex"), **{key: np.zeros(15, np.complex64)})
    changed(f"{key} are a step short", (key, "14", "15"), **{key: arrays()[key][:-1]})
    changed(f"{key} are doubled", (key, "30", "15"), **{key: np.repeat(arrays()[key], 2, axis=0)})
    changed(f"{key} have an axis too many", (key, "shape"), **{key: arrays()[key].reshape(15, 1, 1, -1)})

for key, index in (("observations", (7, 4)), ("actions", (3, 2)), ("rewards", (9,))):
    place = ", ".join(map(str, index))
    for label, value in (("nan", np.nan), ("inf", np.inf), ("-inf", -np.inf)):
        changed(f"{label} in {key}", (f"{key}[{place}] is {label}", "finite"), **{key: put(key, index, value)})
    changed(f"{key} are whole numbers", (key, "int64", "floating"), **{key: arrays()[key].astype(np.int64)})

for value in (1.01, -1.5, 1e30):
    changed(f"action {value}", ("actions[5, 1]", "between -1 and 1"), actions=put("actions", (5, 1), value))
for key in ("terminals", "timeouts"):
    for value in (2, -1, 0.5, np.nan):
        changed(f"{key} hold {value}", (f"{key}[4] is", "0 or 1"), **{key: put(key, 4, value)})

changed("timeouts a step short", ("timeouts", "14"), timeouts=arrays()["timeouts"][:-1])
changed("two columns of rewards", ("rewards", "(15, 2)"), rewards=np.zeros((15, 2), np.float32))
changed("three columns of terminals", ("terminals", "(15, 3)"), terminals=np.zeros((15, 3), bool))
changed(
    "a walker in hopper's place", ("observations", "17", "another task"), observations=np.zeros((15, 17), np.float32)
)
changed("six actions for three", ("actions", "(15, 6)"), actions=np.zeros((15, 6), np.float32))
changed("flat observations", ("observations", "(165,)"), observations=np.zeros(165, np.float32))
changed("one step", ("1 steps", "two"), **{key: array[:1] for key, array in arrays().items()})
changed("no step", ("0 steps",), **{key: array[:0] for key, array in arrays().items()})


@case("empty file", "HDF5")
def _(path):
    path.touch()


@case("text", "HDF5")
def _(path):
    path.write_text("<html>404 Not Found</html>\n" * 100)


@case("zeros", "HDF5")
def _(path):
    path.write_bytes(bytes(10_000))


@case("a NumPy file", "HDF5")
def _(path):
    np.savez(path.with_suffix(""), **arrays())
    path.with_suffix(".npz").rename(path)


@case("HDF5 without arrays", "has no observations, actions, rewards, terminals", "nothing")
def _(path):
    save(path, {})


@case("arrays under other names", "has no observations", "obs")
def _(path):
    save(path, {"obs": np.zeros(3)})


@case("a group in place of rewards", "rewards is not an array")
def _(path):
    save(path, {key: array for key, array in arrays().items() if key != "rewards"})
    with h5py.File(path, "a") as file:
        file.create_group("rewards")


@case("rewards without a value", "rewards is not an array")
def _(path):
    save(path, {key: array for key, array in arrays().items() if key != "rewards"})
    with h5py.File(path, "a") as file:
        file["rewards"] = h5py.Empty("f")


@case("a directory", "is a directory")
def _(path):
    path.mkdir()


@case("a link to nothing", "No such file")
def _(path):
    path.symlink_to(path.with_name("nowhere"))


@case("nothing there", "No such file")
def _(path):
    pass


@case("no permission", "Permission denied")
def _(path):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    save(path, arrays())
    path.chmod(0)


@case("a wrong checksum", "HDF5")
def _(path):
    save(path, arrays(), fletcher32=True)
    flip(path, arrays()["actions"].tobytes()[:24])


@case("damaged compression", "HDF5")
def _(path):
    save(path, {**arrays(), "rewards": np.zeros(15, np.float32)}, compression="gzip")
    content = path.read_bytes()
    stream = content.index(b"\x78\x5e") if b"\x78\x5e" in content else content.index(b"\x78")
    path.write_bytes(content[: stream + 2] + b"\xff" * 8 + content[stream + 10 :])


def truncated(share: float):
    def make(path: Path) -> None:
        save(path, arrays())
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])

    return make


CORPUS |= {f"truncated to {share:.0%}": (truncated(share), ("HDF5",)) for share in (0.01, 0.1, 0.3, 0.5, 0.9, 0.99)}


def flip(path: Path, pattern: bytes) -> None:
    content = path.read_bytes()
    place = content.index(pattern)
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])


def test_the_corpus_is_large():
    assert len(CORPUS) >= 60


@pytest.mark.parametrize("name", CORPUS)
def test_a_bad_file_is_refused_in_one_line(tmp_path, name):
    make, words = CORPUS[name]
    path = tmp_path / "hopper_medium-v2.hdf5"
    make(path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OptionError) as refusal:
        read(path, 11, 3)
    line = str(refusal.value)
    assert "\n" not in line
    assert len(line) < 500
    assert str(path) in line
    for word in words:
        assert word in line
    assert sorted(tmp_path.iterdir()) == before


def test_the_good_file_the_corpus_is_made_from_is_accepted(tmp_path):
    read(save(tmp_path / "good.hdf5", arrays()), 11, 3)
