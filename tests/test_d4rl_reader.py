"""D4RL files: transitions equal to `d4rl.qlearning_dataset`, transforms equal to the published code."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from d4rl_builders import arrays, qlearning_by_hand, save
from hypothesis import given
from hypothesis import strategies as st

from tasks.d4rl_names import D4RL, normalise
from tasks.d4rl_reader import QLearning, Steps, counted_timeouts, load, qlearning, read
from tasks.offline import OfflineTask, Recipe
from tasks.transforms import OBSERVATIONS, REWARDS, episode_returns


def steps_of(content) -> Steps:
    return Steps(**{"timeouts": None, **content})


def same(ours: QLearning, theirs: dict[str, np.ndarray]) -> None:
    # the next actions, the notes and where episodes begin are ours alone
    assert {field.name for field in dataclasses.fields(ours)} == {*theirs, "next_actions", "notes", "begins"}
    for key, array in theirs.items():
        mine = getattr(ours, key)
        assert len(mine) == len(array)
        if len(array):
            assert mine.dtype == array.dtype
            np.testing.assert_array_equal(mine, array)


FLAGS = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60)


@given(FLAGS, st.integers(1, 9), st.booleans(), st.booleans())
def test_transitions_are_those_of_d4rl(flags, limit, has_timeouts, terminate_on_end):
    """Any episode structure: one-step episodes, terminals on time limits, neither anywhere."""
    content = arrays((len(flags),), obs_dim=2, act_dim=1, terminal=(), timeouts=has_timeouts)
    content["terminals"] = np.array([terminal for terminal, _ in flags])
    if has_timeouts:
        content["timeouts"] = np.array([timeout for _, timeout in flags])
    expected = qlearning_by_hand(content, limit, terminate_on_end)
    same(qlearning(steps_of(content), limit, terminate_on_end), expected)


@given(FLAGS, st.booleans())
def test_a_next_action_is_that_of_the_step_with_the_next_observation(flags, has_timeouts):
    content = arrays((len(flags),), obs_dim=2, act_dim=1, terminal=(), timeouts=has_timeouts)
    content["observations"] = np.arange(2.0 * len(flags)).reshape(-1, 2)
    content["terminals"] = np.array([terminal for terminal, _ in flags])
    if has_timeouts:
        content["timeouts"] = np.array([timeout for _, timeout in flags])
    made = qlearning(steps_of(content), 5)
    following = (made.next_observations[:, 0] / 2).astype(int)
    np.testing.assert_array_equal(made.next_actions, content["actions"][following].astype(np.float32))


@given(st.lists(st.integers(1, 12), min_size=1, max_size=12), st.integers(1, 6))
def test_time_limits_of_old_files_are_counted_as_d4rl_counts(lengths, limit):
    """Terminal episodes whose lengths straddle the limit, where d4rl's counter restarts at 1."""
    content = arrays(tuple(lengths), obs_dim=1, act_dim=1, terminal=range(len(lengths)), timeouts=False)
    same(qlearning(steps_of(content), limit), qlearning_by_hand(content, limit, False))


def test_the_counter_after_a_terminal_step_starts_at_one():
    terminals = np.array([0, 0, 1, 0, 0, 0, 0, 0], bool)
    assert np.flatnonzero(counted_timeouts(terminals, limit=4)).tolist() == [5]
    assert np.flatnonzero(counted_timeouts(np.zeros(9, bool), limit=4)).tolist() == [3, 7]


@pytest.mark.parametrize("timeouts", [True, False])
@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": (7,), "fletcher32": True}])
def test_a_file_is_read_as_it_was_written(tmp_path, timeouts, options):
    pytest.importorskip("h5py")
    content = arrays(timeouts=timeouts)
    if "chunks" in options:
        content = {key: array for key, array in content.items()}
        options = {"fletcher32": True}
    steps = read(save(tmp_path / "a.hdf5", content, **options), 11, 3)
    for key, array in content.items():
        np.testing.assert_array_equal(getattr(steps, key), array)
    assert (steps.timeouts is not None) == timeouts


def test_columns_of_rewards_and_terminals_are_flattened_as_d4rl_does(tmp_path):
    pytest.importorskip("h5py")
    content = arrays()
    tall = {**content, "rewards": content["rewards"][:, None], "terminals": content["terminals"][:, None]}
    steps = read(save(tmp_path / "a.hdf5", tall), 11, 3)
    np.testing.assert_array_equal(steps.rewards, content["rewards"])


def test_every_published_name_is_known_once():
    assert len(D4RL) == 128
    assert len({entry.url for entry in D4RL.values()}) == len(D4RL)
    assert D4RL["hopper-medium-expert-v2"].url == (
        "https://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/hopper_medium_expert-v2.hdf5"
    )
    assert D4RL["walker2d-medium-replay-v0"].file == "gym_mujoco/walker_mixed.hdf5"
    assert D4RL["pen-human-v1"].limit == 100
    assert D4RL["antmaze-large-play-v0"].file.endswith(
        "Ant_maze_hardest-maze_noisy_multistart_True_multigoal_False_sparse.hdf5"
    )


def test_scores_are_0_for_a_random_policy_and_100_for_an_expert():
    np.testing.assert_allclose(normalise(D4RL["hopper-medium-v2"].reference, np.array([-20.272305, 3234.3])), [0, 100])


def data_of(content) -> QLearning:
    return qlearning(steps_of(content), 1000)


def test_reward_transforms_of_the_published_code():
    data = data_of(arrays())
    r = data.rewards
    np.testing.assert_array_equal(REWARDS["raw"](data), r)
    np.testing.assert_allclose(REWARDS["antmaze"](data), 4 * (r - 0.5), rtol=1e-6)
    np.testing.assert_allclose(REWARDS["iql-antmaze"](data), r - 1, rtol=1e-6)
    ours, theirs = REWARDS["standardise"](data), torch.from_numpy(r)
    np.testing.assert_allclose(ours, ((theirs - theirs.mean()) / theirs.std()).numpy(), rtol=1e-5, atol=1e-6)


def test_iql_scales_rewards_by_the_range_of_episode_returns():
    content = arrays((3, 2, 4), terminal=(0, 2))
    data = data_of(content)
    # the second episode is cut by the time limit: its last step is left out; the file's last step always is
    r = content["rewards"]
    returns = np.array([r[:3].sum(), r[3:4].sum(), r[5:8].sum()])
    np.testing.assert_allclose(episode_returns(data), returns, rtol=1e-5)
    np.testing.assert_allclose(
        REWARDS["iql-locomotion"](data), 1000 * data.rewards / (returns.max() - returns.min()), rtol=1e-5
    )


def test_z_scored_observations_have_mean_0_and_deviation_1():
    data = data_of(arrays((400,), terminal=()))
    scaled = OBSERVATIONS["z-score"](data)(data.observations)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), data.observations.std(0) / (data.observations.std(0) + 1e-3), rtol=1e-4)


def test_a_task_gives_transitions_with_discount_0_at_terminals(tmp_path):
    pytest.importorskip("h5py")
    content = arrays()
    path = save(tmp_path / "a.hdf5", content)
    recipe = Recipe(
        "t",
        11,
        3,
        1000,
        (0.0, 1.0),
        partial(load, path, 11, 3, 1000),
        None,
        reward="antmaze",
        observation="z-score",
        discount=0.9,
    )
    transitions = OfflineTask(recipe).dataset()
    expected = qlearning_by_hand(content, 1000, False)
    np.testing.assert_allclose(transitions.discount.numpy(), 0.9 * (1 - expected["terminals"]), rtol=1e-6)
    np.testing.assert_allclose(transitions.reward.numpy(), 4 * (expected["rewards"] - 0.5), rtol=1e-5)
    mean, std = expected["observations"].mean(0), expected["observations"].std(0) + 1e-3
    np.testing.assert_allclose(
        transitions.next_obs.numpy(), (expected["next_observations"] - mean) / std, rtol=1e-4, atol=1e-5
    )
    assert {t.dtype for t in (transitions.obs, transitions.act, transitions.discount)} == {torch.float32}
