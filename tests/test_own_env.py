"""A simulator that the user names for data without one, or instead of the one the data name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from own_builders import episodes, minari, npz

from core.options import OptionError
from core.rng import SeedRng
from tasks import make_task
from tasks.own.config import DataConfig, FileConfig

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

MODULE = """
import gymnasium
import numpy as np


class Point(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-9, 9, (4,), np.float64)
    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(4), {}

    def step(self, action):
        return np.append(action, [0, 0]), float(np.sum(action)), False, False, {}


def make():
    return Point()


def broken():
    raise RuntimeError("no display")


def other():
    return 3
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_point_env.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "my_point_env"


def full(obs, rng):
    return torch.ones(*obs.shape[:2], 2)


def test_a_function_of_the_user_makes_the_simulator_and_its_box_is_that_of_the_data(tmp_path, module):
    task = make_task(f"file:{npz(tmp_path, episodes())}").under(FileConfig(env=f"{module}:make"), 2)
    task.prepare()
    # twelve steps, as the longest recorded episode has; an action of 1 is the box's 2
    found = task.evaluate(full, SeedRng([0, 1], "evaluate"), 2)
    assert found.metrics["return"].tolist() == [48.0, 48.0]
    assert task.held_out() is None
    whole = flat_actions(tmp_path)
    np.testing.assert_allclose(2 * task.data().actions, whole, atol=1e-6)


def flat_actions(folder):
    return np.load(folder / "own.npz")["actions"]


def test_both_judge_where_both_are_asked_for(tmp_path, module):
    asked = FileConfig(env=f"{module}:make", held_out=0.25)
    task = make_task(f"file:{npz(tmp_path, episodes())}").under(asked, 1)
    found = task.conclude(full, SeedRng([0], "evaluate"), 1)
    assert next(iter(found.metrics)) == "return"
    assert {"energy_distance", "precision", "recall"} <= set(found.metrics)


def test_given_bounds_are_those_of_the_simulator_too(tmp_path, module):
    asked = FileConfig(env=f"{module}:make", bounds="-1:1")
    task = make_task(f"file:{npz(tmp_path, episodes())}").under(asked, 1)
    assert task.evaluate(full, SeedRng([0], "evaluate"), 1).metrics["return"].tolist() == [24.0]


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ("Nothing-v0", "is no registered environment"),
        ("Hopper-v5", r"its observations have shape \(11,\), those of the data \(4,\)"),
        ("my_point_env:broken", r"cannot be made \(no display\)"),
        ("my_point_env:other", "made a int, expected a gymnasium.Env"),
        ("my_point_env:missing", "cannot be made"),
        ("no_such_module:make", "cannot be made"),
    ],
)
def test_one_that_does_not_fit_is_a_line(tmp_path, module, env, why):
    task = make_task(f"file:{npz(tmp_path, episodes())}")
    with pytest.raises(OptionError, match=why) as refusal:
        task.under(FileConfig(env=env))
    assert "--task.env" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_registered_one_is_made_with_its_own_limit_and_scale(tmp_path):
    path = npz(tmp_path, episodes(2, 20, obs_dim=11, act_dim=3))
    task = make_task(f"file:{path}").under(FileConfig(env="Hopper-v4"), 1)
    assert task.require_simulator().limit == 1000
    assert task.recipe.reference is not None
    assert task.physics["environment"] == "Hopper-v4"


def test_minari_data_need_no_simulator(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    minari(tmp_path, episodes())
    task = make_task("minari:own/set-v0")
    task.prepare()
    assert len(task.dataset()) == 84
    assert len(task.held_out().obs) == 12


def test_what_a_set_names_is_not_looked_at_where_the_user_says_none(tmp_path, monkeypatch):
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    file = minari(tmp_path, episodes()) / "data" / "metadata.json"
    marker = tmp_path / "marker"
    spec = gymnasium.envs.registration.EnvSpec("Mine-v0", "os:system", kwargs={"command": f"touch {marker}"})
    file.write_text(json.dumps({**json.loads(file.read_text()), "env_spec": spec.to_json()}))
    task = make_task("minari:own/set-v0")
    with pytest.raises(OptionError, match=r"Mine-v0.*--task\.env none learns from it without a simulator"):
        task.prepare()
    asked = task.under(DataConfig(env="none"))
    asked.prepare()
    assert len(asked.dataset()) == 84
    assert not marker.exists()
