"""The stack of the papers itself (scripts/install_d4rl.sh): it steps, and reads files as we do. Skipped elsewhere."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from d4rl_builders import arrays, save

from tasks.d4rl_names import D4RL
from tasks.d4rl_reader import qlearning, read

gym = pytest.importorskip("gym")
d4rl = pytest.importorskip("d4rl")


@pytest.fixture(scope="module", autouse=True)
def registered():
    """`import d4rl` alone registers nothing where mjrl is missing; these parts of it each import by themselves."""
    import d4rl.gym_mujoco
    import d4rl.locomotion
    import d4rl.pointmaze  # noqa: F401


@pytest.mark.parametrize("name", ["hopper-medium-v2", "antmaze-umaze-v0", "maze2d-umaze-v1"])
def test_the_real_environment_steps(name):
    env, entry = gym.make(name), D4RL[name]
    obs = env.reset()
    assert obs.shape == (entry.obs_dim,)
    for _ in range(20):
        obs, reward, _, _ = env.step(env.action_space.sample())
    assert obs.shape == env.observation_space.shape
    assert np.isfinite(reward)
    assert env._max_episode_steps == entry.limit


@pytest.mark.parametrize("terminate_on_end", [False, True])
@pytest.mark.parametrize("timeouts", [True, False])
@pytest.mark.parametrize("lengths", [(5, 4, 6), (1, 1, 3), (1000, 999, 1001, 7), (1000, 1, 2000), (2500,)])
def test_our_reader_gives_what_d4rl_gives(tmp_path, lengths, timeouts, terminate_on_end):
    """The same file through `d4rl.qlearning_dataset` and through ours, bit for bit."""
    content = arrays(lengths, terminal=range(0, len(lengths), 2), timeouts=timeouts)
    path = save(tmp_path / "file.hdf5", content)
    env = gym.make("hopper-medium-v2")
    theirs = d4rl.qlearning_dataset(env, env.get_dataset(str(path)), terminate_on_end=terminate_on_end)
    ours = dataclasses.asdict(qlearning(read(path, 11, 3), env._max_episode_steps, terminate_on_end))
    assert ours.keys() == {*theirs, "next_actions", "begins", "notes"}
    for key, array in theirs.items():
        assert ours[key].dtype == array.dtype
        np.testing.assert_array_equal(ours[key], array)


def test_every_published_entry_is_d4rl_s():
    """Addresses and references against d4rl's own lists (maze2d -v0 and antmaze -v1 are only in its registry)."""
    from d4rl import infos

    listed = [name for name in D4RL if name in infos.DATASET_URLS]
    assert len(listed) > 100
    for name in listed:
        assert D4RL[name].url == infos.DATASET_URLS[name].replace("http://", "https://")  # theirs is open to anybody
        if name in infos.REF_MIN_SCORE:  # one of ant's has none
            assert D4RL[name].reference == (infos.REF_MIN_SCORE[name], infos.REF_MAX_SCORE[name])


@pytest.mark.parametrize(
    "name", ["hopper-medium-v2", "halfcheetah-expert-v1", "antmaze-large-play-v2", "maze2d-large-v1"]
)
def test_scores_are_d4rl_s(name):
    from tasks.d4rl_names import normalise

    env = gym.make(name)
    returns = np.array([-3.0, 0.0, 1.0, 1234.5])
    np.testing.assert_allclose(normalise(D4RL[name].reference, returns), 100 * env.get_normalized_score(returns))


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """A file of hopper-medium-v2's shapes where the dataset is looked for."""
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    return save(tmp_path / "hopper_medium-v2.hdf5", arrays((7, 5, 1, 9), terminal=(1,)))


def test_the_backend_learns_from_what_d4rl_makes_of_the_file(placed):
    from tasks import make_task

    env = gym.make("hopper-medium-v2")
    theirs = d4rl.qlearning_dataset(env, env.get_dataset(str(placed)))
    data = make_task("hopper-medium-v2", "d4rl").dataset()
    np.testing.assert_array_equal(data.obs, theirs["observations"])
    np.testing.assert_array_equal(data.next_obs, theirs["next_observations"])
    np.testing.assert_array_equal(data.act, theirs["actions"])
    np.testing.assert_array_equal(data.reward, theirs["rewards"])
    np.testing.assert_array_equal(data.discount == 0, theirs["terminals"])


@pytest.mark.parametrize("name", ["hopper-medium-v2", "maze2d-umaze-v1", "antmaze-umaze-v0"])
def test_the_backend_judges_as_stepping_d4rl_s_environment_by_hand_does(name):
    from tasks.d4rl_stack import simulator

    recipe = simulator(name)
    rng = np.random.default_rng(0)
    script = rng.uniform(-1, 1, (60, recipe.start().env.action_space.shape[0]))
    twice = []
    for _ in range(2):  # the second one after other draws from NumPy's global generator
        simulation = recipe.start()
        obs = [simulation.reset(7)]
        total = 0.0
        for action in script:
            seen, reward, terminated, truncated, _ = simulation.step(action)
            obs.append(seen)
            total += reward
            if terminated or truncated:
                break
        twice.append((np.array(obs), total))
        np.random.random(3)  # noqa: NPY002
    np.testing.assert_array_equal(twice[0][0], twice[1][0])
    assert twice[0][1] == twice[1][1]
    if name.startswith("hopper"):
        env = gym.make(name)
        env.seed(7)
        env.reset()
        by_hand = 0.0
        for action in script:
            _, reward, done, _ = env.step(action)
            by_hand += reward
            if done:
                break
        assert by_hand == twice[0][1]


def test_a_time_limit_is_no_terminal():
    from tasks.d4rl_stack import simulator

    simulation = simulator("maze2d-umaze-v1").start()
    simulation.reset(0)
    ends = [simulation.step(np.zeros(2))[2:4] for _ in range(300)]
    assert ends[:-1] == [(False, False)] * 299
    assert ends[-1] == (False, True)


def test_every_dataset_of_its_domains_has_an_environment():
    from tasks.d4rl_stack import MODULES, simulator

    for name, entry in D4RL.items():
        if entry.domain in MODULES:
            assert simulator(name).env_id == name


def test_a_run_on_the_stack_says_so(placed, tmp_path):
    """As a user: trained on the placed file, judged in mujoco-py, the physics in its record."""
    import json

    from run_ablation import main

    out = tmp_path / "run"
    common = ["--task", "hopper-medium-v2", "--policy", "gaussian", "--steps", "20", "--seeds", "0", "--compile", "off"]
    assert main([*common, "--bc-only", "--backend", "d4rl", "--out", str(out)]) == 0
    record = json.loads((out / "config.json").read_text())
    assert record["backend"] == "d4rl"
    physics = record["physics"]
    assert (physics["mujoco"], physics["gym"], physics["d4rl"]) == ("2.1.0", "0.23.1", "1.1")
    assert "mujoco-py" in physics
