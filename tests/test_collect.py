"""Data made here: determinism, D4RL's conventions, routes both ways round, files complete or not there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from core.options import OptionError
from core.rng import SeedRng
from tasks.catalogue import offline_task
from tasks.collect import local, pointmaze
from tasks.collect.actor import Actor
from tasks.collect.locomotion import WEIGHTS, Stochastic, Uniform
from tasks.collect.record import about, episode_statistics, record, write
from tasks.d4rl_reader import read
from tasks.simulators import Simulator

HOPPER = Simulator("Hopper-v4", 40)


def test_an_actor_is_a_squashed_gaussian_mlp():
    rng = np.random.default_rng(0)
    weights = tuple(rng.standard_normal(shape) for shape in ((4, 5), (5, 6)))
    actor = Actor(weights, (rng.standard_normal(5), rng.standard_normal(6)))
    obs, noise = rng.standard_normal((7, 4)), rng.standard_normal((7, 3))
    for i in range(7):
        out = np.maximum(obs[i] @ weights[0] + actor.biases[0], 0) @ weights[1] + actor.biases[1]
        expected = np.tanh(out[:3] + np.exp(np.minimum(out[3:], 2)) * noise[i])
        np.testing.assert_allclose(actor.act(obs, noise)[i], expected)


def test_an_actor_survives_its_file(tmp_path):
    actor = Actor.load(WEIGHTS / "hopper-expert.npz")
    actor.save(tmp_path / "a.npz")
    for ours, theirs in zip(Actor.load(tmp_path / "a.npz").weights, actor.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_recorded_episodes_follow_d4rl():
    pytest.importorskip("mujoco")
    arrays = record(HOPPER, Uniform(3), 120, 0, "t")
    again = record(HOPPER, Uniform(3), 120, 0, "t")
    for key, array in arrays.items():
        np.testing.assert_array_equal(array, again[key])
    assert not (arrays["terminals"] & arrays["timeouts"]).any()
    over = arrays["terminals"] | arrays["timeouts"]
    assert over[-1]
    inside = ~over[:-1]
    np.testing.assert_array_equal(arrays["observations"][1:][inside], arrays["next_observations"][:-1][inside])


@pytest.mark.slow
def test_the_expert_is_an_expert():
    pytest.importorskip("mujoco")
    arrays = record(Simulator("Hopper-v4", 1000), Stochastic(Actor.load(WEIGHTS / "hopper-expert.npz")), 1000, 3, "t")
    assert episode_statistics(arrays)["mean"] > 2909  # a score of 90


def test_statistics_count_whole_episodes():
    arrays = {
        "rewards": np.array([1.0, 2, 3, 4]),
        "terminals": np.array([0, 1, 0, 0], bool),
        "timeouts": np.array([0, 0, 0, 1], bool),
    }
    # play goes on after a goal; its files have no next observations
    assert episode_statistics(arrays) == {"transitions": 4, "episodes": 1, "mean": 10.0, "min": 10.0, "max": 10.0}
    arrays["next_observations"] = np.zeros((4, 1))
    assert episode_statistics(arrays) == {"transitions": 4, "episodes": 2, "mean": 5.0, "min": 3.0, "max": 7.0}


@pytest.mark.parametrize("maze", pointmaze.MAZES)
def test_every_cell_can_be_reached_from_every_other(maze):
    grid = pointmaze.Grid(maze)
    costs = dict.fromkeys(grid.cells, 1.0)
    for start in grid.cells:
        for end in grid.cells:
            way = [start, *grid.route(start, end, costs)] if start != end else [start]
            assert way[-1] == end
            assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in itertools.pairwise(way))


def test_the_ring_is_gone_round_both_ways():
    wanderer = pointmaze.Wanderer("ring", home=True)
    rng = np.random.default_rng(0)
    second = [wanderer._plan(rng, (3, 1))[0] for _ in range(200)]
    share = np.mean([cell == (2, 1) for cell in second])
    assert 0.35 < share < 0.65


def test_a_file_is_complete_or_not_there(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "sub" / "a.hdf5"
    with pytest.raises(TypeError):
        write(path, {"observations": np.array([object()])}, {})
    assert not list(path.parent.iterdir())


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A local dataset that costs nothing."""
    pytest.importorskip("h5py")
    monkeypatch.setenv("POLICY_ABLATION_CACHE", str(tmp_path))

    def make(seed):
        rng = np.random.default_rng(seed)
        ends = np.arange(20) % 10 == 9
        return {
            "observations": rng.standard_normal((20, 4)).astype(np.float32),
            "actions": rng.uniform(-1, 1, (20, 2)).astype(np.float32),
            "rewards": np.ones(20, np.float32),
            "terminals": np.zeros(20, bool),
            "timeouts": ends,
        }

    monkeypatch.setitem(local.LOCAL, "local:tiny", local.Local(4, 2, (0.0, 1.0), HOPPER, make))
    monkeypatch.setitem(local.LOCAL, "local:other", local.Local(4, 2, (0.0, 1.0), HOPPER, make))
    return tmp_path


def test_data_are_made_once_and_say_what_they_are(tiny):
    path = local.locate("local:tiny")
    stamp = path.stat().st_mtime_ns
    assert local.locate("local:tiny").stat().st_mtime_ns == stamp
    told = about(path)
    assert (told["task"], told["episodes"], told["mean"]) == ("local:tiny", 2, 10.0)
    assert told["physics"]["environment"] == "Hopper-v4"
    assert len(read(path, 4, 2).rewards) == 20
    assert [file.name for file in tiny.iterdir()] == [path.name]


def test_the_data_of_another_task_are_refused(tiny):
    local.locate("local:other").rename(local.path("local:tiny"))
    with pytest.raises(OptionError, match="holds the data of local:other"):
        local.locate("local:tiny")


@pytest.mark.parametrize(
    ("changed", "named"),
    [({}, None), ({"mujoco": "2.1.0"}, "mujoco 2.1.0"), ({"environment": "Hopper-v5"}, "in Hopper-v5")],
)
def test_data_made_with_other_physics_are_warned_of_once(tiny, recwarn, changed, named):
    pytest.importorskip("mujoco")
    told = {"task": "local:tiny", "physics": {**HOPPER.physics(), **changed}}
    write(local.path("local:tiny"), local.LOCAL["local:tiny"].make(0), told)
    task = offline_task("local:tiny")
    for _ in range(2):
        task.evaluate(lambda obs, rng: torch.zeros(*obs.shape[:2], 3), SeedRng((0,), "evaluate"), 1)
    lines = [str(warning.message) for warning in recwarn if "recorded with" in str(warning.message)]
    assert len(lines) == (named is not None)
    assert all(named in line and "evaluated with mujoco" in line and "in Hopper-v4" in line for line in lines)


def test_physics_are_unknown_before_there_are_data(tiny):
    assert local.physics_of("local:tiny") == {}
