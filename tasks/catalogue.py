"""Every offline task by name: D4RL's published ones, and `local:` ones whose data are made on this machine."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from core.options import OptionError
from tasks.collect import local
from tasks.d4rl_files import locate
from tasks.d4rl_names import D4RL, Entry
from tasks.d4rl_reader import read
from tasks.offline import OfflineTask, Recipe
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
        return Simulator(f"AdroitHand{entry.body.capitalize()}-v1", entry.limit, plugin="gymnasium_robotics")
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


def _d4rl(entry: Entry) -> Recipe:
    def check(path: Path) -> None:
        read(path, entry.obs_dim, entry.act_dim)

    return Recipe(
        entry.name,
        entry.obs_dim,
        entry.act_dim,
        entry.limit,
        entry.reference,
        locate=partial(locate, entry, check, nearest_local(entry)),
        simulator=_simulator(entry),
        recorded_with=RECORDED_WITH,
        reward=REWARDS.get(entry.domain, "raw"),
        # as Diffusion-QL: ten episodes for the -v2 tasks, a hundred for the rest
        episodes=10 if entry.name.endswith("-v2") else 100,
    )


def _local(name: str) -> Recipe:
    dataset = local.LOCAL[name]
    return Recipe(
        name,
        dataset.obs_dim,
        dataset.act_dim,
        dataset.simulator.limit,
        dataset.reference,
        locate=partial(_made, name),
        simulator=dataset.simulator,
        stamped=partial(local.physics_of, name),
    )


def _made(name: str) -> Path:
    if not local.path(name).exists():
        print(f"{name}: making its data, once, into {local.path(name)}", file=sys.stderr)
    return local.locate(name)


def offline_names() -> tuple[str, ...]:
    """All names `offline_task` knows, local ones first."""
    return (*local.LOCAL, *D4RL)


def offline_task(name: str) -> OfflineTask:
    """The task of this name; nothing is read, fetched or made before its data are asked for."""
    if name in local.LOCAL:
        return OfflineTask(_local(name))
    if name in D4RL:
        return OfflineTask(_d4rl(D4RL[name]))
    raise OptionError(f"unknown task {name!r}")
