"""Scores belong to their environment: Adroit by D4RL's own rules, the kitchen by tasks done, none where none is."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from core.rng import SeedRng
from tasks import adroit, make_task, minari_environment, observations
from tasks.d4rl_names import ADROIT, LOCOMOTION
from tasks.offline import OfflineTask
from tasks.simulators import Simulator, achieved

pytest.importorskip("gymnasium_robotics")
SOURCE = Path("metadata.json")


def described(env_id: str, limit: int | None = None, **options) -> str:
    return json.dumps({"id": env_id, "max_episode_steps": limit, "kwargs": options})


def of(longest: int = 200, **metadata) -> minari_environment.Evaluated:
    return minari_environment.of(SOURCE, metadata, (), longest)


def d4rl_reward(body: str, env) -> float:
    """Written from D4RL's hand_dapg environments (door_v0, hammer_v0, relocate_v0), not from gymnasium-robotics."""
    data = env.data
    site = {name: data.site_xpos[i].ravel() for name, i in env._model_names.site_name2id.items()}
    palm = site["S_grasp"]
    if body == "door":
        hinge = data.qpos[env.door_hinge_addrs].ravel()[0]
        reward = -0.1 * np.linalg.norm(palm - site["S_handle"]) - 0.1 * (hinge - 1.57) ** 2
        reward -= 1e-5 * np.sum(data.qvel**2)
        return reward + 2 * (hinge > 0.2) + 8 * (hinge > 1.0) + 10 * (hinge > 1.35)
    thing = data.xpos[env.obj_body_id].ravel()
    if body == "hammer":
        head, nail, goal = site["tool"], site["S_target"], site["nail_goal"]
        reward = -0.1 * np.linalg.norm(palm - thing) - np.linalg.norm(head - nail) - 10 * np.linalg.norm(nail - goal)
        reward -= 1e-2 * np.linalg.norm(data.qvel.ravel())
        reward += 2 * (thing[2] > 0.04 and head[2] > 0.04)
        off = np.linalg.norm(nail - goal)
        return reward + 25 * (off < 0.020) + 75 * (off < 0.010)
    target = site["target"]
    reward = -0.1 * np.linalg.norm(palm - thing)
    if thing[2] > 0.04:
        reward += 1 - 0.5 * np.linalg.norm(palm - target) - 0.5 * np.linalg.norm(thing - target)
    off = np.linalg.norm(thing - target)
    return reward + 10 * (off < 0.1) + 20 * (off < 0.05)


@pytest.mark.parametrize("body", ["door", "hammer", "relocate"])
def test_adroit_is_rewarded_as_d4rl_rewards_it(body):
    simulation = make_task(f"{body}-human-v1").recipe.simulator.start()
    rng = np.random.default_rng(0)
    simulation.reset(0)
    for _ in range(30):
        _, reward, terminated, _, _ = simulation.step(rng.uniform(-1, 1, simulation.centre.shape))
        assert reward == pytest.approx(d4rl_reward(body, simulation.env.unwrapped), abs=1e-9)
        assert not terminated


def test_a_dropped_pen_ends_the_episode():
    simulation = make_task("pen-human-v1").recipe.simulator.start()
    rng, ends = np.random.default_rng(0), []
    for episode in range(6):
        simulation.reset(episode)
        for _ in range(100):
            _, _, terminated, truncated, _ = simulation.step(rng.uniform(-1, 1, simulation.centre.shape))
            env = simulation.env.unwrapped
            assert terminated == bool(env.data.xpos[env.obj_body_id].ravel()[2] < 0.075)
            if terminated or truncated:
                break
        assert terminated or truncated
        ends.append(terminated)
    assert any(ends)


def test_a_simulator_with_rules_is_sent_to_workers():
    simulator = make_task("door-human-v1").recipe.simulator
    assert pickle.loads(pickle.dumps(simulator)) == simulator
    assert "palm" in simulator.physics()["rules"]


@pytest.mark.parametrize(
    ("info", "done"),
    [
        ({}, None),
        ({"success": True}, 1.0),
        ({"success": np.False_}, 0.0),
        ({"is_success": 1.0}, 1.0),
        ({"episode_task_completions": ["kettle"], "tasks_to_complete": ["microwave", "slide", "light"]}, 0.25),
        ({"episode_task_completions": [], "tasks_to_complete": ["microwave"]}, 0.0),
        ({"episode_task_completions": ["a", "b"], "tasks_to_complete": ["a", "b", "c", "d"]}, 0.5),
    ],
)
def test_how_much_is_done_is_what_the_environment_says(info, done):
    assert achieved(info) == done


def still(width: int):
    return lambda obs, rng: torch.zeros(*obs.shape[:2], width)


def evaluated_task(evaluated: minari_environment.Evaluated, width: int, obs: int) -> OfflineTask:
    recipe = dataclasses.replace(make_task("hopper-medium-v2").recipe, name="t", episodes=2, act_dim=width, obs_dim=obs)
    return OfflineTask(
        dataclasses.replace(
            recipe,
            reference=evaluated.reference,
            simulator=evaluated.simulator,
            limit=evaluated.limit,
            notes=evaluated.notes,
        )
    )


def test_without_reference_and_success_the_return_leads_and_a_line_says_so():
    task = evaluated_task(of(eval_env_spec=described("MountainCarContinuous-v0", 20)), 1, 2)
    metrics = task.evaluate(still(1), SeedRng([0], "evaluate"), 1).metrics
    assert list(metrics) == ["return", "length"]
    (line,) = task._notes(task._reports_success())
    assert "no score" in line


def test_fetch_is_scored_by_its_own_word_for_success():
    evaluated = minari_environment.of(
        SOURCE, {"env_spec": described("FetchReach-v4")}, (("observation",), ("desired_goal",)), 50
    )
    metrics = evaluated_task(evaluated, 4, 13).evaluate(still(4), SeedRng([0], "evaluate"), 1).metrics
    assert list(metrics) == ["score", "return", "length", "success"]
    assert metrics["score"] == 100 * metrics["success"]


def test_the_kitchen_is_scored_by_tasks_done():
    spec = described("FrankaKitchen-v1", 5, tasks_to_complete=["microwave", "kettle"])
    evaluated = minari_environment.of(SOURCE, {"env_spec": spec}, (("observation",),), 5)
    simulation = evaluated.simulator.start()
    simulation.reset(0)
    env = simulation.env.unwrapped
    assert achieved(simulation.step(np.zeros(9))[-1]) == 0
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import OBS_ELEMENT_GOALS, OBS_ELEMENT_INDICES

    qpos = env.data.qpos.copy()
    qpos[OBS_ELEMENT_INDICES["microwave"]] = OBS_ELEMENT_GOALS["microwave"]
    env.robot_env.set_state(qpos, np.zeros_like(env.data.qvel))
    assert achieved(simulation.step(np.zeros(9))[-1]) == 0.5


OPEN = ("ref_min_score", "ref_max_score")


def test_a_reference_is_tied_to_reward_ends_and_horizon():
    hopper = LOCOMOTION["hopper"][2]
    assert of(1000, env_spec=described("Hopper-v5", 1000)).reference == hopper
    assert of(1000, env_spec=described("Hopper-v5", 500)).reference is None
    assert of(1000, env_spec=described("Hopper-v5", 1000, terminate_when_unhealthy=False)).reference is None
    assert of(1000, env_spec=described("Ant-v5", 1000)).reference is None
    own = dict(zip(OPEN, (1, 3), strict=True))
    assert of(1000, env_spec=described("Hopper-v5", 500), **own).reference == (1.0, 3.0)
    for odd in ((3, 3), (float("nan"), 3), ("x", 3), (None, 3)):
        assert of(env_spec=described("PointMaze_UMaze-v3"), **dict(zip(OPEN, odd, strict=True))).reference is None


@pytest.mark.parametrize("body", list(ADROIT))
def test_adroit_by_minari_has_d4rl_s_rules_with_d4rl_s_reference(body):
    name = f"AdroitHand{body.capitalize()}"
    own = dict(zip(OPEN, ADROIT[body][2], strict=True))
    for more in ({}, own):
        found = of(200, env_spec=described(f"{name}-v1", 200), **more)
        assert found.reference == ADROIT[body][2]
        assert found.limit == found.simulator.limit == (100 if body == "pen" else 200)
        assert found.simulator.rules == adroit.RULES[body]
    sparse = of(200, env_spec=described(f"{name}Sparse-v1", 200))
    assert (sparse.reference, sparse.simulator.rules) == (None, None)
    other = of(200, env_spec=described(f"{name}-v1", 200), ref_min_score=0, ref_max_score=1)
    assert (other.reference, other.simulator.rules) == ((0.0, 1.0), None)


def test_an_evaluation_in_another_environment_is_said_by_its_argument():
    here, there = ([[1, 1, 1], [1, "g", 1], [1, 1, 1]], [[1, 1, 1], [1, "r", 1], [1, 1, 1]])
    both = {
        "env_spec": described("PointMaze_UMaze-v3", 300, maze_map=there),
        "eval_env_spec": described("PointMaze_UMaze-v3", 300, maze_map=here),
    }
    (line,) = of(**both).notes
    assert "maze_map" in line
    assert json.loads(of(**both).simulator.physics()["arguments"]) == {"maze_map": here}
    (line,) = of(**{**both, "eval_env_spec": described("PointMaze_Medium-v3", 300, maze_map=there)}).notes
    assert "PointMaze_Medium-v3" in line
    assert of(env_spec=both["env_spec"], eval_env_spec=both["env_spec"]).notes == ()


def test_the_limit_of_a_collector_is_not_the_limit_of_an_evaluation():
    found = of(150, env_spec=described("PointMaze_UMaze-v3", 10**6))
    assert found.limit == found.simulator.limit == 150
    assert "150" in found.notes[0]
    assert of(150, env_spec=described("PointMaze_UMaze-v3", 300)).limit == 300
    assert of(150, env_spec=described("PointMaze_UMaze-v3")).limit == 300


def rows(**columns) -> dict[tuple[str, ...], np.ndarray]:
    return {tuple(name.split("__")): np.asarray(value, float) for name, value in columns.items()}


def test_what_is_left_out_can_be_found_in_what_is_kept():
    rng = np.random.default_rng(0)
    body, place, goal = (rng.normal(size=(50, n)) for n in (4, 2, 2))
    antmaze = rows(desired_goal=goal, observation=body, achieved_goal=place)
    assert observations.kept(list(antmaze), antmaze) == (("achieved_goal",), ("observation",), ("desired_goal",))
    pointmaze = rows(achieved_goal=body[:, :2], desired_goal=np.ones((50, 2)), observation=body)
    assert observations.kept(list(pointmaze), pointmaze) == (("observation",), ("desired_goal",))
    noisy = rows(achieved_goal__kettle=body[:, 1:2] + 4e-4, desired_goal__kettle=np.ones((50, 1)), observation=body)
    assert observations.kept(list(noisy), noisy) == (("observation",),)
    other = rows(observation=body, touch=place, image=rng.normal(size=(50, 1)), desired_goal=goal)
    assert len(observations.kept(list(other), other)) == 4


def test_data_and_simulator_show_the_same_vector():
    evaluated = minari_environment.of(
        SOURCE,
        {"env_spec": described("AntMaze_UMaze-v4")},
        (("achieved_goal",), ("observation",), ("desired_goal",)),
        700,
    )
    simulation = evaluated.simulator.start()
    obs = simulation.reset(0)
    raw = simulation.env.unwrapped._get_obs(simulation.env.unwrapped.ant_env._get_obs())
    assert obs.shape == (31,)
    np.testing.assert_array_equal(
        obs, np.concatenate([raw[key] for key in ("achieved_goal", "observation", "desired_goal")])
    )


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "InvertedPendulum-v4"])
def test_gymnasium_s_own_environments_report_no_success(env_id):
    assert not Simulator(env_id, 10).reports_success()


@pytest.mark.parametrize("family", ["pen", "door"])
def test_a_random_policy_scores_about_nothing(family):
    from benchmarks.scores import NEAR, measure

    row = measure(family, 10)
    assert abs(row.score) < NEAR + 3 * row.error
