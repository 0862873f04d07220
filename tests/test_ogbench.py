"""`ogbench:` tasks: names, the file's conventions against OGBench's own loader, bad files."""

from __future__ import annotations

import numpy as np
import pytest

from core.options import OptionError
from tasks import make_task, ogbench_data
from tasks.d4rl_reader import BadFile

NAME = "ogbench:cube-single-play-singletask-v0"
FILE = "cube-single-play-v0.npz"


def content(episodes=3, length=6, seed=0) -> dict[str, np.ndarray]:
    """Steps of the shapes that cube-single has; its first object's position is qpos[14:17]."""
    rng, count = np.random.default_rng(seed), episodes * length
    return {
        "observations": rng.standard_normal((count, 28)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (count, 5)).astype(np.float32),
        "terminals": np.arange(count) % length == length - 1,
        "qpos": rng.standard_normal((count, 21)).astype(np.float32),
    }


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OGBENCH_DATASET_DIR", str(tmp_path / "ogbench"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ogbench").mkdir()
    return tmp_path / "ogbench"


def test_names_are_known_without_package_or_network():
    assert len(ogbench_data.NAMES) > 200
    assert ogbench_data.NAMES["ogbench:antmaze-large-explore-singletask-task3-v0"] == (
        "antmaze-large-singletask-task3-v0",
        "antmaze-large-explore-v0.npz",
    )
    with pytest.raises(OptionError, match="did you mean ogbench:cube-single-play-singletask-v0"):
        make_task("ogbench:cube-single-pley-singletask-v0")


def test_every_environment_is_ogbench_s():
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("ogbench")
    assert {env_id for env_id, _ in ogbench_data.NAMES.values()} <= set(gymnasium.envs.registry)


def test_transitions_are_those_of_ogbench_s_own_loader(folder):
    ogbench = pytest.importorskip("ogbench")
    np.savez(folder / FILE, **content())
    np.savez(folder / FILE.replace(".npz", "-val.npz"), **content())
    _, theirs, _ = ogbench.make_env_and_datasets(NAME.removeprefix("ogbench:"), dataset_dir=str(folder))
    task = make_task(NAME)
    ours = task.data()
    for key in ("observations", "actions", "next_observations", "rewards"):
        np.testing.assert_array_equal(getattr(ours, key), theirs[key])
    np.testing.assert_array_equal(ours.terminals, theirs["masks"] == 0)
    assert (task.spec.obs_dim, task.spec.act_dim, len(task.dataset())) == (28, 5, 15)


def test_a_step_with_the_cube_in_place_is_paid_and_terminal(folder):
    pytest.importorskip("ogbench")
    steps = content()
    from tasks.simulators import Simulator

    simulation = Simulator("cube-single-singletask-v0", 200, plugin="ogbench.manipspace").start()
    simulation.reset(0)
    steps["qpos"][7, 14:17] = simulation.env.unwrapped._data.mocap_pos[0]
    np.savez(folder / FILE, **steps)
    data = make_task(NAME).data()
    assert np.flatnonzero(data.terminals).tolist() == [6]  # one step before it was an episode's last, and left out
    assert np.flatnonzero(data.rewards == 0).tolist() == [6]


def test_without_file_or_network_one_line_says_what_to_do(folder, monkeypatch):
    pytest.importorskip("ogbench")
    monkeypatch.setattr("tasks.ogbench_data.SERVER", "https://127.0.0.1:9")
    with pytest.raises(OptionError) as error:
        make_task(NAME).dataset()
    said = str(error.value)
    assert "\n" not in said
    for part in (FILE, str(folder), ".ogbench/data", "https://127.0.0.1:9", "local:cube-single-play"):
        assert part in said


def broken(what: str) -> dict[str, np.ndarray]:
    steps = content()
    if what == "no qpos":
        del steps["qpos"]
    elif what == "other shapes":
        steps["observations"] = steps["observations"][:, :27]
    elif what == "shorter":
        steps["actions"] = steps["actions"][:-1]
    elif what == "not a number":
        steps["observations"][4, 2] = np.nan
    elif what == "cut":
        steps = {key: array[:-1] for key, array in steps.items()}
    return steps


SAID = {
    "no qpos": "has no qpos",
    "other shapes": "another task",
    "shorter": r"actions has shape \(17, 5\)",
    "not a number": r"observations\[4, 2\] is nan; expected finite",
    "cut": "incomplete",
}


@pytest.mark.parametrize(("what", "said"), SAID.items())
def test_a_bad_file_is_named_in_one_line(tmp_path, what, said):
    path = tmp_path / "file.npz"
    np.savez(path, **broken(what))
    with pytest.raises(BadFile, match=said) as error:
        ogbench_data.read(path, 28, 5)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    path = tmp_path / "file.npz"
    np.savez(path, **content())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(BadFile, match="cannot be read"):
        ogbench_data.read(path, 28, 5)
