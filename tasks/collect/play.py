"""`local:cube-single-play` and `local:scene-play`: a robot arm playing with objects (OGBench, 2410.20092).

OGBench's environments, its scripted oracles with temporally correlated noise, and its collection loop: the oracle is
given one random goal after another and the data serve a task that nobody was solving. Rewards are those of OGBench's
default single task: minus the number of objects out of place, before the action; a step with all in place is terminal
though the episode goes on. The score is the share of episodes solved, in percent.

Axes: N steps. OGBench's oracles draw from NumPy's global generator, so each episode seeds it, in its own process.
"""

from __future__ import annotations

import multiprocessing
import os

import numpy as np

from core.bars import progress_bar
from tasks.simulators import Simulation, Simulator, gymnasium_with

#: kind -> observation size, time limit of an evaluation
KINDS = {"cube-single": (28, 200), "scene": (40, 750)}
ACT_DIM = 5
#: about 70 s of one core's time, by the few episodes that were timed
EPISODES, LENGTH = 25, 1001
#: of the oracle's plan, as OGBench's script has it
NOISE = {"noise": 0.1, "noise_smoothing": 0.5}
PLUGIN = "ogbench.manipspace"


def simulator(kind: str) -> Simulator:
    """The default single task."""
    return Simulator(f"{kind}-singletask-v0", KINDS[kind][1], plugin=PLUGIN)


def collect(kind: str, seed: int, episodes: int = EPISODES) -> dict[str, np.ndarray]:
    """The arrays of `local:{kind}-play`."""
    gymnasium_with(simulator(kind))  # a missing package is named before any process starts
    jobs = [(kind, int(state)) for state in np.random.SeedSequence(seed).generate_state(episodes)]
    workers = min(len(os.sched_getaffinity(0)), episodes)
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        each = pool.imap(_episode, jobs)
        played = list(progress_bar(each, total=episodes, desc=f"{kind}-play", unit="episode"))
    steps = {key: np.concatenate([episode[key] for episode in played]) for key in played[0]}
    return _with_rewards(kind, steps)


def _episode(job: tuple[str, int]) -> dict[str, np.ndarray]:
    """One episode of play."""
    kind, seed = job
    options = {"terminate_at_goal": False, "mode": "data_collection"}
    simulation = Simulation(Simulator(f"{kind}-v0", LENGTH, plugin=PLUGIN, make_options=options))
    env = simulation.env
    np.random.seed(seed & 0xFFFFFFFF)  # noqa: NPY002
    oracles = _oracles(kind, env)
    obs, info = env.reset(seed=seed & 0x7FFFFFFF)
    oracle = oracles[info.get("privileged/target_task", "cube")]
    oracle.reset(obs, info)
    kept: dict[str, list[np.ndarray]] = {"observations": [], "actions": [], "qpos": [], "button_states": []}
    over = False
    while not over:
        action = np.clip(np.asarray(oracle.select_action(obs, info)), -1, 1)
        kept["observations"].append(obs)
        kept["actions"].append(action)
        obs, _, terminated, truncated, info = env.step(action)
        kept["qpos"].append(info["prev_qpos"])
        kept["button_states"].append(info.get("prev_button_states", np.zeros(0)))
        over = terminated or truncated
        if oracle.done:
            goal_obs, goal_info = env.unwrapped.set_new_target(p_stack=0.0)
            oracle = oracles[goal_info.get("privileged/target_task", "cube")]
            oracle.reset(goal_obs, goal_info)
    simulation.close()
    ends = np.arange(len(kept["actions"])) == len(kept["actions"]) - 1
    return {**{key: np.array(rows, np.float32) for key, rows in kept.items()}, "timeouts": ends}


def _oracles(kind: str, env) -> dict:
    from ogbench.manipspace.oracles.plan.button_plan import ButtonPlanOracle
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
    from ogbench.manipspace.oracles.plan.drawer_plan import DrawerPlanOracle
    from ogbench.manipspace.oracles.plan.window_plan import WindowPlanOracle

    if kind == "cube-single":
        return {"cube": CubePlanOracle(env=env, **NOISE)}
    return {
        "cube": CubePlanOracle(env=env, **NOISE),
        "button": ButtonPlanOracle(env=env, gripper_always_closed=True, **NOISE),
        "drawer": DrawerPlanOracle(env=env, **NOISE),
        "window": WindowPlanOracle(env=env, **NOISE),
    }


def _with_rewards(kind: str, steps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rewards and terminals of the default single task, by OGBench's own rule."""
    from ogbench.relabel_utils import relabel_dataset

    simulation = Simulation(simulator(kind))
    relabelled = dict(steps)
    relabel_dataset(simulation.recipe.env_id, simulation.env, relabelled)
    simulation.close()
    return {
        **{key: steps[key] for key in ("observations", "actions", "timeouts")},
        "rewards": relabelled["rewards"],
        "terminals": relabelled["masks"] == 0,
    }
