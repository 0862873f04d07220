"""`minari:` tasks: any continuous dataset of Minari by its id, such as `minari:mujoco/hopper/medium-v0`.

Read through the minari package, from $MINARI_DATASETS_PATH or ~/.minari/datasets, else downloaded by it; judged in the
environment that the dataset names for evaluation. Minari keeps the last observation of each episode, so that, other
than in D4RL's files, no transition is lost at a time limit. Scores refer to the dataset's own reference returns, else
to D4RL's for the same body, else they are the percentage solved.

Axes: n transitions, O observation, A action. Of a dictionary observation `observation` and `desired_goal` are taken.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks.collect import local
from tasks.d4rl_names import ADROIT, LOCOMOTION
from tasks.d4rl_reader import BadFile, QLearning
from tasks.kinds import kind_of
from tasks.offline import Recipe
from tasks.simulators import Simulator, installed, packages_for

PREFIX = "minari:"
ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+", re.ASCII)
PARTS = ("observation", "desired_goal")
#: where an environment sets no time limit
LIMIT = 1000


def check_name(name: str) -> None:
    """Raises `OptionError` for what cannot be an id; needs neither the package nor the network."""
    if not ID.fullmatch(name.removeprefix(PREFIX)):
        raise OptionError(
            f"--task: {name!r} is no id of Minari; one is minari:(namespace/)name-vN, as minari:mujoco/hopper/medium-v0"
        )


@dataclass(frozen=True)
class MinariSimulator(Simulator):
    """The environment a dataset describes."""

    described: str = ""  # as gymnasium writes an EnvSpec

    def make(self):
        """The environment itself. Raises `OptionError` where its package is missing."""
        import gymnasium
        from gymnasium.envs.registration import EnvSpec

        try:
            spec = EnvSpec.from_json(self.described)
            return gymnasium.make(spec, max_episode_steps=self.limit, disable_env_checker=True)
        except (ImportError, gymnasium.error.Error) as error:
            raise OptionError(f"{self.env_id}: its environment cannot be made ({first_line(error)})") from None

    def physics(self) -> dict[str, str]:
        """What computed the motion: packages with versions, and the environment."""
        robotics = ["gymnasium-robotics"] if "gymnasium_robotics" in self.described else []
        packages = ["mujoco", "gymnasium", *robotics, "minari"]
        return {"environment": self.env_id, **{package: installed(package) for package in packages}}


def recipe(name: str) -> Recipe:
    """The task of this name, its dataset found or downloaded. Raises `OptionError` where that cannot be."""
    dataset = _dataset(name)
    parts, actions = _parts(name, dataset.observation_space), dataset.action_space
    if not _is_box(actions) or not np.isfinite([actions.low, actions.high]).all():
        raise OptionError(f"{name}: actions are {actions}; policies here act in a bounded box of one dimension")
    spec = dataset._eval_env_spec or dataset.env_spec  # the public way to the first one makes the environment
    # rewards are those of the environment that the data were recorded in
    recorded = dataset.env_spec or spec
    shapes = [space.shape[0] for space in parts.values()]
    simulator = spec and MinariSimulator(
        spec.id, spec.max_episode_steps or LIMIT, tuple(filter(None, parts)), described=spec.to_json()
    )
    return Recipe(
        name,
        sum(shapes),
        actions.shape[0],
        spec.max_episode_steps or LIMIT if spec else LIMIT,
        _reference(dataset.storage.metadata, spec.id if spec else ""),
        load=partial(transitions, name, dataset, tuple(parts)),
        simulator=simulator or None,
        kind=recorded and kind_of(recorded.entry_point, recorded.kwargs),
    )


def _dataset(name: str):
    """The dataset, local or downloaded by minari."""
    with packages_for(name):
        import minari
        from minari.storage import get_dataset_path
    identity = name.removeprefix(PREFIX)
    folder = get_dataset_path(identity)
    there = (folder / "data").exists()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return minari.load_dataset(identity, download=not there)
    except Exception as error:  # what a download raises depends on the service behind it
        if there:
            raise BadFile(f"{folder}: cannot be read as a dataset of Minari ({first_line(error)})") from None
        raise OptionError(
            f"{name}: not in {folder}, and it cannot be downloaded ({first_line(error)}); "
            f"put it there by hand, or use --task {nearest_local(identity)}, which makes its own data"
        ) from None


def nearest_local(identity: str) -> str:
    """The task whose name shares most words with the id."""
    words = set(re.split(r"[-/_]", identity.lower()))
    return max(local.LOCAL, key=lambda name: len(words & set(re.split(r"[-:]", name))))


def _is_box(space: Any) -> bool:
    return type(space).__name__ == "Box" and len(space.shape) == 1


def _parts(name: str, space: Any) -> dict[str | None, Any]:
    """The boxes that make the observation, by key; by None where it is one box."""
    if _is_box(space):
        return {None: space}
    inner = getattr(space, "spaces", {})
    boxes: dict[str | None, Any] = {part: inner[part] for part in PARTS if isinstance(inner, dict) and part in inner}
    boxes = {part: box for part, box in boxes.items() if _is_box(box)}
    if "observation" not in boxes:
        raise OptionError(f"{name}: observations are {space}; policies here take a box of one dimension")
    return boxes


def _reference(metadata: dict[str, Any], env_id: str) -> tuple[float, float] | None:
    low, high = metadata.get("ref_min_score"), metadata.get("ref_max_score")
    if low is not None and high is not None:
        return float(low), float(high)
    body = env_id.lower().rpartition("-")[0].removeprefix("adroithand")
    known = LOCOMOTION.get(body) or ADROIT.get(body)
    return known[2] if known else None


def transitions(name: str, dataset: Any, parts: tuple[str | None, ...]) -> QLearning:
    """All steps of all episodes, actions scaled to [-1, 1]."""
    low, high = (bound.astype(np.float64) for bound in (dataset.action_space.low, dataset.action_space.high))
    fields = ("observations", "actions", "rewards", "next_observations", "terminals")
    rows: dict[str, list[np.ndarray]] = {field: [] for field in fields}
    for episode in dataset.iterate_episodes():
        boxes = [episode.observations if part is None else episode.observations[part] for part in parts]
        obs = np.concatenate(boxes, -1, dtype=np.float32)
        rows["observations"].append(obs[:-1])
        rows["next_observations"].append(obs[1:])
        rows["actions"].append(((episode.actions - (high + low) / 2) / ((high - low) / 2)).astype(np.float32))
        rows["rewards"].append(np.asarray(episode.rewards, np.float32))
        rows["terminals"].append(np.asarray(episode.terminations, bool))
        for field in rows:
            if len(rows[field][-1]) != len(obs) - 1 or not np.isfinite(rows[field][-1]).all():
                raise BadFile(f"{name}: {field} of episode {episode.id} are not one finite row for each step")
    if not rows["rewards"]:
        raise BadFile(f"{name}: holds no episode")
    return QLearning(**{field: np.concatenate(arrays) for field, arrays in rows.items()})
