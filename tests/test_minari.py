"""`minari:` tasks: ids, what is read against what was written, scores, and local data written as Minari's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.options import OptionError
from core.rng import SeedRng
from tasks import make_task
from tasks.collect import local
from tasks.d4rl_names import LOCOMOTION
from tasks.simulators import Simulator

SHORT = Simulator("Hopper-v4", 20)


@pytest.mark.parametrize("name", ["minari:", "minari:hopper", "minari:a b-v0", "minari:/hopper-v0", "minari:hopper-v"])
def test_what_cannot_be_an_id_is_refused_without_the_package(name):
    with pytest.raises(OptionError, match="is no id of Minari"):
        make_task(name)


@pytest.fixture
def store(tmp_path, monkeypatch):
    minari = pytest.importorskip("minari")
    pytest.importorskip("mujoco")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("POLICY_ABLATION_CACHE", str(tmp_path / "cache"))
    return minari


def episodes(low: float, high: float, parts: bool = False):
    """Two episodes of four and three steps; the first one ends by itself."""
    from minari.data_collector import EpisodeBuffer

    rng = np.random.default_rng(0)
    made = []
    for length in (4, 3):
        obs = rng.standard_normal((length + 1, 11))
        ends = np.arange(length) == length - 1
        made.append(
            EpisodeBuffer(
                observations={"desired_goal": 2 * obs[:, :2], "achieved_goal": obs[:, :2], "observation": obs}
                if parts
                else obs,
                actions=rng.uniform(low, high, (length, 3)).astype(np.float32),
                rewards=rng.standard_normal(length),
                terminations=ends if length == 4 else np.zeros(length, bool),
                truncations=ends if length == 3 else np.zeros(length, bool),
            )
        )
    return made


@pytest.mark.parametrize("parts", [False, True])
def test_all_steps_are_read_with_their_next_observations(store, parts):
    gymnasium = pytest.importorskip("gymnasium")
    box = gymnasium.spaces.Box
    space, goal = box(-np.inf, np.inf, (11,), np.float64), box(-np.inf, np.inf, (2,), np.float64)
    whole = gymnasium.spaces.Dict({"desired_goal": goal, "achieved_goal": goal, "observation": space})
    written = episodes(-2.0, 6.0, parts)
    store.create_dataset_from_buffers(
        "test/wide-v0",
        written,
        observation_space=whole if parts else space,
        action_space=box(-2.0, 6.0, (3,), np.float32),
    )
    task = make_task("minari:test/wide-v0")
    data = task.data()
    assert (task.spec.obs_dim, task.spec.act_dim) == (13 if parts else 11, 3)
    obs = [e.observations["observation"] if parts else e.observations for e in written]
    before, after = (np.concatenate([o[part] for o in obs]).astype(np.float32) for part in (np.s_[:-1], np.s_[1:]))
    np.testing.assert_array_equal(data.observations[:, :11], before)
    np.testing.assert_array_equal(data.next_observations[:, :11], after)
    np.testing.assert_allclose(4 * data.actions + 2, np.concatenate([e.actions for e in written]), rtol=1e-5)
    assert np.flatnonzero(data.terminals).tolist() == [3]
    if parts:
        np.testing.assert_array_equal(data.observations[:, 11:], 2 * data.observations[:, :2])
    # it names no environment, so that policies are judged by the episode that is held out
    task.prepare()
    judged = task.evaluate(lambda obs, rng: obs[..., :3].clamp(-1, 1), SeedRng([0], "evaluate"), 1)
    assert set(judged.metrics) == {"energy_distance"}
    assert len(task.dataset()) + len(task.held_out().obs) == 7


def tiny(seed):
    from tasks.collect.locomotion import Uniform
    from tasks.collect.record import record

    return record(SHORT, Uniform(3), 60, seed, "tiny")


def test_local_data_come_back_through_minari(store, monkeypatch):
    from tasks.collect.to_minari import convert

    reference = LOCOMOTION["hopper"][2]
    monkeypatch.setitem(local.LOCAL, "local:tiny", local.Local(11, 3, reference, SHORT, tiny))
    name = f"minari:{convert('local:tiny')}"
    written = tiny(local.SEED)
    task = make_task(name)
    for key in ("observations", "actions", "rewards", "next_observations", "terminals"):
        np.testing.assert_array_equal(getattr(task.data(), key), written[key])
    judged = task.evaluate(lambda obs, rng: torch.zeros(*obs.shape[:2], 3), SeedRng([0], "evaluate"), 1)
    same = make_task("local:tiny").evaluate(
        lambda obs, rng: torch.zeros(*obs.shape[:2], 3), SeedRng([0], "evaluate"), 1
    )
    assert judged.metrics["score"] == same.metrics["score"]
    assert task.physics["environment"] == "Hopper-v4"
    assert task.physics["minari"].count(".") == 2


def test_what_minari_cannot_describe_is_refused(store):
    from tasks.collect.to_minari import convert

    with pytest.raises(OptionError, match="cannot describe"):
        convert("local:pointmaze-umaze")


def test_without_dataset_or_network_one_line_says_what_to_do(store, monkeypatch, tmp_path):
    def gone(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(store.storage.hosting, "download_dataset", gone)
    with pytest.raises(OptionError) as error:
        make_task("minari:mujoco/hopper/medium-v0").dataset()
    said = str(error.value)
    assert "\n" not in said
    for part in (str(tmp_path / "minari"), "no network", "local:hopper-medium"):
        assert part in said


def test_a_damaged_dataset_is_named(store, tmp_path):
    (tmp_path / "minari" / "test" / "broken-v0" / "data").mkdir(parents=True)
    with pytest.raises(OptionError, match=r"broken-v0/data/metadata.json: cannot be read"):
        make_task("minari:test/broken-v0").dataset()
