"""`ogbench:` tasks: the reward-based single tasks of OGBench (2410.20092), from its files and in its environments.

A name is `ogbench:{environment}-{dataset}-singletask[-task1..5]-v0`, as `ogbench.make_env_and_datasets` takes it. Files
are looked for in $OGBENCH_DATASET_DIR, then ~/.ogbench/data, else downloaded. They hold observations, actions and where
episodes end; rewards and terminals come from OGBench's own `relabel_dataset`. The score is the percentage solved.

Axes: N steps in the file, n transitions, O observation, A action.
"""

from __future__ import annotations

import itertools
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np

from tasks import containers
from tasks.d4rl_files import find
from tasks.d4rl_reader import QLearning
from tasks.kinds import DENSE, MINUS_ONE_ELSEWHERE, Kind
from tasks.offline import Recipe
from tasks.simulators import Simulator, gymnasium_with
from tasks.validation import BadFile, as_used, checked, flags, in_unit_box, numeric

PREFIX = "ogbench:"
SERVER = "https://rail.eecs.berkeley.edu/datasets/ogbench"
_ROAM, _PLAY = ("navigate", "stitch"), ("play", "noisy")
#: environment -> its datasets with observations of the state (the visual ones are not listed)
DATASETS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys((f"pointmaze-{maze}" for maze in ("medium", "large", "giant", "teleport")), _ROAM),
    **dict.fromkeys((f"antmaze-{maze}" for maze in ("medium", "large", "teleport")), (*_ROAM, "explore")),
    "antmaze-giant": _ROAM,
    **dict.fromkeys((f"humanoidmaze-{maze}" for maze in ("medium", "large", "giant")), _ROAM),
    **dict.fromkeys((f"antsoccer-{field}" for field in ("arena", "medium")), _ROAM),
    **dict.fromkeys((f"cube-{count}" for count in ("single", "double", "triple", "quadruple")), _PLAY),
    "scene": _PLAY,
    **dict.fromkeys((f"puzzle-{size}" for size in ("3x3", "4x4", "4x5", "4x6")), _PLAY),
}
#: what is moved through a maze or over a field, the reward a step -1 until it is where it should be
MAZES = ("pointmaze", "antmaze", "humanoidmaze", "antsoccer")
#: which part of the file each quantity of a step is in; button_states only where there are buttons
KEYS = ("observations", "actions", "terminals", "qpos")
#: as OGBench evaluates
EPISODES = 50
#: name -> environment id, dataset file
NAMES: dict[str, tuple[str, str]] = {
    f"{PREFIX}{env}-{kind}-singletask{task}-v0": (f"{env}-singletask{task}-v0", f"{env}-{kind}-v0.npz")
    for env, kinds in DATASETS.items()
    for kind, task in itertools.product(kinds, ("", *(f"-task{number}" for number in range(1, 6))))
}


def kind_of(name: str) -> Kind:
    """What a task is: what moves, or is moved, in an environment of OGBench's."""
    family, _, body = next(env for env in DATASETS if name.startswith(f"{PREFIX}{env}-")).partition("-")
    return Kind(family, body, MINUS_ONE_ELSEWHERE if family in MAZES else DENSE)


def folders() -> list[Path]:
    """Where files are looked for, in order."""
    named = os.environ.get("OGBENCH_DATASET_DIR")
    return [*([Path(named).expanduser()] if named else []), Path("~/.ogbench/data").expanduser()]


def recipe(name: str) -> Recipe:
    """The task of this name; its shapes are those of the environment. Raises `OptionError` without the package."""
    env_id, _ = NAMES[name]
    kind = kind_of(name)
    plugin = "ogbench.locomaze" if kind.family in MAZES else "ogbench.manipspace"
    limit = gymnasium_with(Simulator(env_id, 0, plugin=plugin)).spec(env_id).max_episode_steps
    simulator = Simulator(env_id, limit, plugin=plugin)
    probe = simulator.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the precision of its bounds
        (obs_dim,), (act_dim,) = probe.env.observation_space.shape, probe.env.action_space.shape
    probe.close()
    load = partial(transitions, name, simulator, obs_dim, act_dim)
    return Recipe(name, obs_dim, act_dim, limit, None, load=load, simulator=simulator, episodes=EPISODES, kind=kind)


def transitions(name: str, simulator: Simulator, obs_dim: int, act_dim: int) -> QLearning:
    """The transitions of a task: as `ogbench.load_dataset` cuts them, with the rewards of the single task."""
    from ogbench.relabel_utils import relabel_dataset

    env_id, file = NAMES[name]

    def check(path: Path) -> None:
        read(path, obs_dim, act_dim)

    path = find(name, f"{SERVER}/{file}", folders(), check, nearest_local(env_id))
    steps = read(path, obs_dim, act_dim)
    here = steps["terminals"] == 0
    after = np.append(False, here[:-1])
    told = {key: array[here] for key, array in steps.items()}
    probe = simulator.start()
    relabel_dataset(env_id, probe.env, told)
    probe.close()
    following = steps["observations"][after]
    return checked(
        file, QLearning(told["observations"], told["actions"], told["rewards"], following, told["masks"] == 0)
    )


def nearest_local(env_id: str) -> str:
    """The task most like it whose data are made here."""
    body, size = env_id.split("-")[:2]
    if body in ("cube", "scene", "puzzle"):
        return "local:cube-single-play" if body == "cube" else "local:scene-play"
    return f"local:pointmaze-{'medium' if size in ('medium', 'arena') else 'large'}"


def read(path: Path, obs_dim: int, act_dim: int) -> dict[str, np.ndarray]:
    """The arrays of a file by key, `[N, ...]`, float32 where they go to the learner; raises `BadFile`."""
    arrays = containers.npz(path, lambda key: key in (*KEYS, "button_states"))
    missing = [key for key in KEYS if key not in arrays]
    if missing:
        there = ", ".join(sorted(containers.names_in_npz(path))[:8])
        raise BadFile(f"{path}: has no {', '.join(missing)}; it has {there or 'nothing'}")
    count = len(arrays["terminals"]) if arrays["terminals"].ndim == 1 else -1
    for key, array in arrays.items():
        width = {"observations": obs_dim, "actions": act_dim}.get(key)
        if not array.ndim or len(array) != count or (width and array.shape != (count, width)):
            wanted = "steps" if width is None else f"steps, {width}"
            raise BadFile(f"{path}: {key} has shape {array.shape}, this task's is ({wanted}); a file of another task?")
        numeric(path, key, array)
    used = {key: as_used(path, key, arrays[key]) for key in ("observations", "actions")}
    in_unit_box(path, "actions", used["actions"])
    for key in set(arrays) - set(used):
        as_used(path, key, arrays[key])
    flags(path, "terminals", arrays["terminals"])
    if count < 2 or not arrays["terminals"][-1]:
        raise BadFile(f"{path}: its {max(count, 0)} steps do not end with the end of an episode; incomplete?")
    return {**arrays, **used}
