"""Every offline task by name: D4RL's published ones, `local:` ones with data made here, `ogbench:` and `minari:`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from tasks import adroit, d4rl_stack, minari_data, ogbench_data
from tasks.collect import local
from tasks.d4rl_files import locate
from tasks.d4rl_names import D4RL, Entry
from tasks.d4rl_reader import QLearning, load
from tasks.late import LateTask
from tasks.offline import EPISODES, OfflineTask, Recipe
from tasks.own.task import FILE, minari_task, own_task
from tasks.simulators import Simulator

#: what recorded D4RL's data: mujoco-py on MuJoCo 2.0 and 2.1
RECORDED_WITH = "mujoco-py on MuJoCo 2"
LOCOMOTION = {"halfcheetah": "HalfCheetah-v4", "hopper": "Hopper-v4", "walker2d": "Walker2d-v4"}
#: Diffusion-QL's transform of the rewards, by domain
REWARDS = {"antmaze": "antmaze", "adroit": "standardise"}


def _simulator(entry: Entry) -> Simulator | None:
    """The maintained environment with this dataset's observations; None where there is none."""
    if entry.domain == "locomotion" and entry.body in LOCOMOTION:
        return Simulator(LOCOMOTION[entry.body], entry.limit)
    if entry.domain == "adroit":
        environment = f"AdroitHand{entry.body.capitalize()}-v1"
        return Simulator(environment, entry.limit, plugin="gymnasium_robotics", rules=adroit.RULES[entry.body])
    return None


def nearest_local(entry: Entry) -> str:
    """The `local:` task most like a published one, among those this checkout can make."""
    kind = entry.name.removeprefix(f"{entry.body}-").rpartition("-")[0]
    kind = {"full-replay": "medium-replay", "random-expert": "medium-expert"}.get(kind, kind)
    wished = {
        "locomotion": [f"{entry.body}-{kind}", f"walker2d-{kind}", f"hopper-{kind}"],
        "maze2d": [f"pointmaze-{entry.body}"],
        "antmaze": [f"pointmaze-{entry.body}"],
        "adroit": ["cube-single-play"],
        "kitchen": ["scene-play"],
    }[entry.domain]
    names = [f"local:{name}" for name in (*wished, "pointmaze-umaze")]
    return next(name for name in names if name in local.LOCAL)


def _d4rl(entry: Entry, backend: str) -> Recipe:
    by_stack = backend == "d4rl"
    return Recipe(
        entry.name,
        entry.obs_dim,
        entry.act_dim,
        entry.limit,
        entry.reference,
        load=partial(d4rl_stack.transitions, entry, nearest_local(entry)) if by_stack else partial(_published, entry),
        simulator=d4rl_stack.simulator(entry.name) if by_stack else _simulator(entry),
        recorded_with="" if by_stack else RECORDED_WITH,
        next_actions=not by_stack,
        reward=REWARDS.get(entry.domain, "raw"),
        # as Diffusion-QL
        episodes=EPISODES if entry.domain == "locomotion" else 100,
        kind=entry.kind,
        published=entry.name,
    )


def _published(entry: Entry) -> QLearning:
    def check(path: Path) -> None:
        load(path, entry.obs_dim, entry.act_dim, entry.limit)

    return load(locate(entry, check, nearest_local(entry)), entry.obs_dim, entry.act_dim, entry.limit)


def _local(name: str) -> Recipe:
    dataset = local.LOCAL[name]
    return Recipe(
        name,
        dataset.obs_dim,
        dataset.act_dim,
        dataset.simulator.limit,
        dataset.reference,
        load=partial(_made, name),
        simulator=dataset.simulator,
        stamped=partial(local.physics_of, name),
        next_actions=True,
        kind=dataset.kind,
        made_after=dataset.made_after,
    )


def _made(name: str) -> QLearning:
    if not local.path(name).exists():
        print(f"{name}: making its data, once, into {local.path(name)}", file=sys.stderr)
    dataset = local.LOCAL[name]
    return load(local.locate(name), dataset.obs_dim, dataset.act_dim, dataset.simulator.limit)


def offline_names() -> tuple[str, ...]:
    """All names `offline_task` knows but Minari's, of which anyone can add some; local ones first."""
    return (*local.LOCAL, *D4RL, *ogbench_data.NAMES)


def offline_task(name: str, backend: str = "gymnasium") -> OfflineTask | None:
    """The task of this name, None where there is none; nothing is read, fetched or made before its data are asked for.

    Raises `OptionError` where a name of Minari's is not one, or the backend does not serve it.
    """
    if backend == "d4rl":
        d4rl_stack.simulator(name)
    if name in local.LOCAL:
        return OfflineTask(_local(name))
    if name in D4RL:
        return OfflineTask(_d4rl(D4RL[name], backend))
    if name in ogbench_data.NAMES:
        return LateTask(partial(ogbench_data.recipe, name), ogbench_data.EPISODES, ogbench_data.kind_of(name))
    if name.startswith(minari_data.PREFIX):
        minari_data.check_name(name)
        return minari_task(name)
    return own_task(name) if name.startswith(FILE) else None
