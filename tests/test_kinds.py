"""Behaviour by what a task is and not by how its name is spelt."""

from __future__ import annotations

import numpy as np
import pytest

from ablations.analysis.protocols import TOP_K, published_top_k
from ablations.command.cli import parse
from ablations.plan import sense
from tasks import make_task, task_names
from tasks.collect import local
from tasks.d4rl_names import D4RL
from tasks.kinds import DENSE, MINUS_ONE_ELSEWHERE, ONE_AT_GOAL, Kind, kind_of
from tasks.protocol import DIFFUSION_QL

IQL = ("--preset", "iql", "--as-released", "--seeds", "0")


def released(task, *more):
    """What IQL's release does to the rewards of the task, and all that is said before training."""
    (run,) = parse([*IQL, "--task", task, *more]).runs
    return run.transforms.reward, sense.lines_of([run])


@pytest.mark.parametrize(
    ("task", "reward"),
    [
        ("hopper-medium-v2", "iql-locomotion"),
        ("walker2d-random-v0", "iql-locomotion"),
        ("local:halfcheetah-medium", "iql-locomotion"),
        ("ant-medium-v2", None),
        ("antmaze-large-play-v2", "iql-antmaze"),
        ("pen-human-v1", None),
        ("maze2d-umaze-v1", None),
        ("local:pointmaze-umaze", None),
        ("ogbench:cube-single-play-singletask-v0", None),
        ("bandit", None),
    ],
)
def test_what_is_known_is_done_as_released_and_not_spoken_of(task, reward):
    assert released(task) == (reward, [])


def test_rewards_of_another_convention_are_left_and_said():
    """OGBench's mazes pay 0 and -1 already: one less would be neither the release's rewards nor OGBench's."""
    reward, (line,) = released("ogbench:antmaze-large-navigate-singletask-v0")
    assert reward is None
    assert "transformed where a step has 1 at the goal, else 0; here it has 0 at the goal, else -1" in line


@pytest.fixture
def minari_set(tmp_path, monkeypatch):
    """Makes a tiny dataset of Minari whose name says nothing, as recorded in the environment given, if any."""
    minari = pytest.importorskip("minari")
    gymnasium = pytest.importorskip("gymnasium")
    robotics = pytest.importorskip("gymnasium_robotics")
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    gymnasium.register_envs(robotics)

    def make(env_id, name="tt/nothing-v0"):
        box = gymnasium.spaces.Box
        episode = EpisodeBuffer(
            observations=np.zeros((4, 11)),
            actions=np.zeros((3, 3), np.float32),
            rewards=np.arange(3.0),
            terminations=np.zeros(3, bool),
            truncations=np.arange(3) == 2,
        )
        minari.create_dataset_from_buffers(
            name,
            [episode],
            observation_space=box(-np.inf, np.inf, (11,), np.float64),
            action_space=box(-1, 1, (3,), np.float32),
            env=env_id and gymnasium.spec(env_id),
        )
        return f"minari:{name}"

    return make


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("env_id", "reward"),
    [
        ("Hopper-v5", "iql-locomotion"),
        ("Walker2d-v4", "iql-locomotion"),
        ("AntMaze_UMaze-v5", "iql-antmaze"),
        ("AdroitHandPen-v1", None),
        ("MountainCarContinuous-v0", None),
    ],
)
def test_a_set_of_minari_is_what_its_environment_is(minari_set, env_id, reward):
    assert released(minari_set(env_id)) == (reward, [])


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_dense_maze_is_not_the_release_s(minari_set):
    reward, (line,) = released(minari_set("AntMaze_UMazeDense-v5"))
    assert reward is None
    assert "here it has dense" in line


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_set_that_names_no_environment_is_not_taken_for_what_it_is_called(minari_set):
    name = minari_set(None, "mujoco/hopper/medium-v0")
    reward, (line,) = released(name)
    assert reward is None
    assert "by what the task is, which its data do not say" in line
    assert released(name, "--task.reward", "iql-locomotion") == ("iql-locomotion", [])


def test_kinds_go_by_class_and_arguments():
    robotics = "gymnasium_robotics.envs"
    assert kind_of("gymnasium.envs.mujoco.hopper_v4:HopperEnv", {}) == Kind("locomotion", "hopper", DENSE)
    assert kind_of(f"{robotics}.maze.ant_maze_v4:AntMazeEnv", {}) == Kind("antmaze", "ant", ONE_AT_GOAL)
    assert kind_of(f"{robotics}.adroit_hand.adroit_pen:AdroitHandPenEnv", {"reward_type": "sparse"}) == Kind(
        "adroit", "pen", ONE_AT_GOAL
    )
    for unknown in ("os:system", "gymnasium.envs.mujoco.hopper_v4", "my.gymnasium.envs.mujoco.x:HopperEnv", None):
        assert kind_of(unknown, {}) is None


def test_every_task_whose_name_alone_says_what_it_is_has_a_kind():
    families = {name: make_task(name).kind for name in task_names() if not name.startswith("bandit")}
    assert all(families.values())
    assert families["ogbench:antmaze-giant-stitch-singletask-task3-v0"] == Kind("antmaze", "giant", MINUS_ONE_ELSEWHERE)
    assert families["ogbench:scene-noisy-singletask-v0"] == Kind("scene", "", DENSE)


def test_episodes_go_by_the_kind_of_task_and_not_by_a_version():
    for name, entry in D4RL.items():
        assert make_task(name).episodes == (10 if entry.domain == "locomotion" else 100)


def test_local_data_have_the_selection_of_the_published_data_they_follow():
    after = {name: dataset.made_after for name, dataset in local.LOCAL.items() if dataset.made_after}
    assert after["local:hopper-medium-expert"] == "hopper-medium-expert-v2"
    assert set(after.values()) <= set(D4RL)
    for name in [*after, *after.values()]:
        row = DIFFUSION_QL.get(after.get(name, name))
        assert published_top_k(name) == (row.top_k if row else TOP_K)
    assert published_top_k("local:pointmaze-umaze") == published_top_k("of another version") == TOP_K
