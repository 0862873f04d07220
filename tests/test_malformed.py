"""Malformed data by a grammar, through every reader: one line, or arrays that are finite and fit; never a traceback."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from d4rl_builders import arrays
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.options import OptionError
from tasks import make_task, ogbench_data
from tasks.collect.local import locate, path
from tasks.d4rl_reader import QLearning, load

h5py = pytest.importorskip("h5py")
pytest.importorskip("gymnasium")

DTYPES = ("f4", "f8", "f2", "i4", "u1", "?", "c8", "S3", "M8[s]")
VALUES = (np.nan, np.inf, -np.inf, 1e300, -1e39, 2.0, -1.0001, 0.5, 0.0)
LENGTHS = (0, 1, 2, 14, 16, 30)
KEYS = ("observations", "actions", "rewards", "terminals", "timeouts", "qpos")


@st.composite
def damage(draw):
    """What to do to a sound set: a few changes, each of one array or of the file's bytes."""
    kinds = ("value", "dtype", "length", "shape", "drop", "scalar", "cut", "flip", "text", "describe")
    return [
        (draw(st.sampled_from(kinds)), draw(st.sampled_from(KEYS)), draw(st.integers(0, 2**31 - 1)))
        for _ in range(draw(st.integers(1, 3)))
    ]


def damaged(content: dict, changes) -> dict:
    made = dict(content)
    for kind, key, seed in changes:
        if key not in made or kind in ("cut", "flip", "text", "describe"):
            continue
        array, rng = np.array(made[key]), np.random.default_rng(seed)
        if array.dtype.kind in "SMc" and kind in ("value", "dtype"):
            continue  # it is no number already
        if kind == "drop":
            del made[key]
        elif kind == "scalar":
            made[key] = np.float32(seed)
        elif kind == "length":
            made[key] = np.resize(array, (int(rng.choice(LENGTHS)), *array.shape[1:]))
        elif kind == "shape":
            made[key] = array.reshape(-1) if seed % 2 else array[..., None]
        elif kind == "dtype":
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                made[key] = _as(array, rng.choice(DTYPES))
        elif array.size:
            array = array.astype("f8")
            array.flat[rng.integers(array.size)] = rng.choice(VALUES)
            made[key] = array
    return made


def _as(array, dtype):
    return np.full(array.shape, b"x") if dtype == "S3" else array.astype("i8" if dtype == "M8[s]" else dtype)


def spoil(file: Path, changes) -> None:
    """Damage of the bytes of a file."""
    for kind, _, seed in changes:
        content = bytearray(file.read_bytes())
        if kind == "cut":
            content = content[: seed % (len(content) + 1)]
        elif kind == "flip" and content:
            content[seed % len(content)] ^= 1 << seed % 8
        elif kind == "text":
            content = bytearray(b"<html>404 Not Found</html>")
        else:
            continue
        file.write_bytes(content)


def save(file: Path, content: dict) -> None:
    with h5py.File(file, "w") as made:
        for key, array in content.items():
            made.create_dataset(key, data=array, compression="gzip" if np.ndim(array) and np.size(array) else None)


def sound(data: QLearning) -> None:
    """What training may be given."""
    count = len(data.rewards)
    assert count >= 1
    for name in ("observations", "actions", "rewards", "next_observations", "terminals"):
        array = getattr(data, name)
        assert len(array) == count
        assert np.isfinite(array.astype(np.float32)).all()
    assert np.abs(data.actions).max() <= 1 + 1e-3


def one_line_or_sound(read) -> bool:
    """Whether it was accepted."""
    try:
        data = read()
    except OptionError as refusal:
        line = str(refusal)
        assert "\n" not in line
        assert 0 < len(line) < 1000
        return False
    sound(data)
    return True


def of_d4rl(folder: Path, changes) -> bool:
    file = folder / "hopper_medium-v2.hdf5"
    save(file, damaged(arrays(), changes))
    spoil(file, changes)
    return one_line_or_sound(lambda: load(file, 11, 3, 1000))


def of_ogbench(folder: Path, changes) -> bool:
    rng = np.random.default_rng(0)
    content = {
        "observations": rng.standard_normal((15, 28)).astype("f4"),
        "actions": rng.uniform(-1, 1, (15, 5)).astype("f4"),
        "terminals": np.arange(15) % 5 == 4,
        "qpos": rng.standard_normal((15, 21)).astype("f4"),
    }
    file = folder / "cube-single-play-v0.npz"
    np.savez_compressed(file, **damaged(content, changes))
    spoil(file, changes)

    def read():
        steps = ogbench_data.read(file, 28, 5)
        return QLearning(
            steps["observations"], steps["actions"], np.zeros(15), steps["observations"], steps["terminals"]
        )

    return one_line_or_sound(read)


def of_local(folder: Path, changes) -> bool:
    name = "local:hopper-medium"
    file = path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    save(file, damaged(arrays(), changes))
    describes = next((seed for kind, _, seed in changes if kind == "describe"), None)
    if describes is not None:
        about = ("", "{", "[]", '{"task": 3}', '{"task": "local:x"}', "[" * 50_000, "{}")[describes % 7]
        with h5py.File(file, "a") as made:
            made.attrs["about"] = about
    spoil(file, changes)
    return one_line_or_sound(lambda: load(locate(name), 11, 3, 1000))


def of_minari(folder: Path, changes) -> bool:
    """Written as minari writes it: an episode is a group."""
    from gymnasium.spaces import Box
    from minari.serialization import serialize_space

    data = folder / "minari" / "test" / "odd-v0" / "data"
    data.mkdir(parents=True, exist_ok=True)
    content = arrays((15,), terminal=())
    episode = {
        "observations": np.append(content["observations"], content["observations"][:1], 0),
        "actions": content["actions"],
        "rewards": content["rewards"],
        "terminals": content["terminals"],
        "timeouts": content["timeouts"],
    }
    names = {"terminals": "terminations", "timeouts": "truncations"}
    with h5py.File(data / "main_data.hdf5", "w") as file:
        group = file.create_group("episode_0")
        group.attrs.update({"id": 0, "total_steps": 15})
        for key, array in damaged(episode, changes).items():
            group.create_dataset(names.get(key, key), data=array)
    told = {
        "dataset_id": "test/odd-v0",
        "data_format": "hdf5",
        "minari_version": "0.5.4",
        "total_episodes": 1,
        "total_steps": 15,
        "observation_space": serialize_space(Box(-np.inf, np.inf, (11,), np.float32)),
        "action_space": serialize_space(Box(-1, 1, (3,), np.float32)),
    }
    for kind, _, seed in changes:
        if kind == "describe":
            key = sorted(told)[seed % len(told)]
            told[key] = [None, 3, "x", [], {"a": 1}, -1, "{"][seed % 7]
    (data / "metadata.json").write_text(json.dumps(told))
    spoil(data / "main_data.hdf5", changes)
    return one_line_or_sound(lambda: make_task("minari:test/odd-v0").data())


READERS = {"d4rl": of_d4rl, "ogbench": of_ogbench, "local": of_local, "minari": of_minari}
SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@pytest.fixture
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("POLICY_ABLATION_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_refused_is_sound(reader, places):
    """The same file name is written over, as each example ends before the next begins."""
    if reader == "minari":
        pytest.importorskip("minari")

    @settings(max_examples=40, deadline=None, suppress_health_check=SUPPRESSED)
    @given(damage())
    def check(changes):
        READERS[reader](places, changes)

    check()


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_what_is_not_refused_is_sound_at_length(reader, places):
    if reader == "minari":
        pytest.importorskip("minari")

    @settings(max_examples=1000, deadline=None, suppress_health_check=SUPPRESSED)
    @given(damage())
    def check(changes):
        READERS[reader](places, changes)

    check()


@pytest.mark.parametrize("reader", READERS)
def test_the_set_that_is_damaged_is_sound(reader, places):
    if reader == "minari":
        pytest.importorskip("minari")
    assert READERS[reader](places, [])
