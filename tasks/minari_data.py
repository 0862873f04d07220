"""`minari:` tasks: any continuous dataset of Minari by its id, such as `minari:mujoco/hopper/medium-v0`.

Read through the minari package, from $MINARI_DATASETS_PATH or ~/.minari/datasets, else downloaded by it; judged in the
environment that the dataset names for evaluation. Minari keeps the last observation of each episode, so that, other
than in D4RL's files, no transition is lost at a time limit. Scores refer to the dataset's own reference returns, else
to D4RL's for the same body, else they are the percentage solved.

Axes: n transitions, O observation, A action. Of a dictionary observation `observation` and `desired_goal` are taken.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks import containers, environments
from tasks.collect import local
from tasks.d4rl_names import ADROIT, LOCOMOTION
from tasks.d4rl_reader import QLearning
from tasks.environments import Described
from tasks.kinds import kind_of
from tasks.offline import Recipe
from tasks.simulators import Simulator, installed, packages_for
from tasks.validation import BadFile, as_used, checked, flags, numeric, scaled_actions

PREFIX = "minari:"
ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+", re.ASCII)
#: files of a dataset
METADATA, MAIN = "metadata.json", "main_data.hdf5"
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
    """The environment a dataset describes, made from the registry (tasks/environments.py)."""

    described: Described = field(default_factory=lambda: Described(""))

    def make(self):
        """The environment itself. Raises `OptionError` where its package is missing."""
        return environments.made(self.described, self.limit)

    def physics(self) -> dict[str, str]:
        """What computed the motion: packages with versions, and the environment with what it is given."""
        given = (
            {"arguments": json.dumps(dict(self.described.options), sort_keys=True)} if self.described.options else {}
        )
        return {**super().physics(), "minari": installed("minari"), **given}


def recipe(name: str) -> Recipe:
    """The task of this name, its dataset found or downloaded. Raises `OptionError` where that cannot be."""
    dataset = _dataset(name)
    parts, actions = _parts(name, dataset.observation_space), dataset.action_space
    if (
        not _is_box(actions)
        or not np.isfinite([actions.low, actions.high]).all()
        or (actions.low >= actions.high).any()
    ):
        raise OptionError(f"{name}: actions are {actions}; policies here act in a bounded box of one dimension")
    told = _described(dataset.storage.data_path, dataset.storage.metadata)
    # rewards are those of the environment that the data were recorded in
    recorded = dataset.env_spec or dataset._eval_env_spec
    shapes = [space.shape[0] for space in parts.values()]
    limit = (told and told.limit) or LIMIT
    simulator = told and MinariSimulator(
        told.env_id, limit, tuple(filter(None, parts)), plugin=told.plugin, described=told
    )
    return Recipe(
        name,
        sum(shapes),
        actions.shape[0],
        limit,
        _reference(dataset.storage.metadata, told.env_id if told else ""),
        load=partial(transitions, name, dataset, tuple(parts)),
        simulator=simulator or None,
        kind=recorded and kind_of(recorded.entry_point, recorded.kwargs),
    )


def _described(folder: Path, metadata: dict[str, Any]) -> Described | None:
    """The environment to evaluate in; None where the data name none. Raises `BadFile` for one that data may not ask."""
    told = [
        environments.read(f"{folder / METADATA}: {key}", metadata[key])
        for key in ("eval_env_spec", "env_spec")
        if metadata.get(key) is not None
    ]
    return told[0] if told else None


def _dataset(name: str):
    """The dataset, local or downloaded by minari."""
    with packages_for(name):
        import minari
        from minari.storage import get_dataset_path
    identity = name.removeprefix(PREFIX)
    folder = get_dataset_path(identity)
    there = (folder / "data").exists()
    if there:
        _refuse_unsafe(folder / "data")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not there:
                minari.storage.hosting.download_dataset(identity)
                _refuse_unsafe(folder / "data")
            return minari.load_dataset(identity, download=False)
    except OptionError:
        raise
    except Exception as error:  # what a download raises depends on the service behind it
        if there:
            raise BadFile(f"{folder}: cannot be read as a dataset of Minari ({first_line(error)})") from None
        raise OptionError(
            f"{name}: not in {folder}, and it cannot be downloaded ({first_line(error)}); "
            f"put it there by hand, or use --task {nearest_local(identity)}, which makes its own data"
        ) from None


def _refuse_unsafe(folder: Path) -> None:
    """Look at a dataset's files before minari does, which makes the environment of one that leaves out its spaces."""
    metadata = containers.json_object(folder / METADATA)
    for key in ("observation_space", "action_space"):
        if not isinstance(metadata.get(key), str):
            raise BadFile(f"{folder / METADATA}: has no {key}; expected gymnasium's description of it")
    _described(folder, metadata)
    if metadata.get("data_format", "hdf5") == "hdf5":
        with containers.hdf5(folder / MAIN):
            pass


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
    """All steps of all episodes, actions scaled to [-1, 1]. Raises `BadFile` for what cannot be used."""
    low, high = (bound.astype(np.float64) for bound in (dataset.action_space.low, dataset.action_space.high))
    folder = dataset.storage.data_path
    episodes = []
    with containers.boundary(folder, "a dataset of Minari"):
        for episode in dataset.iterate_episodes():
            episodes.append(_episode(f"{folder}: episode {episode.id}", episode, parts, low, high))
            wide = {key: array.shape[1:] for key, array in episodes[-1].items()}
            first = {key: array.shape[1:] for key, array in episodes[0].items()}
            if wide != first:
                raise BadFile(f"{folder}: episode {episode.id} has rows of {wide}, the first of {first}")
    if not episodes:
        raise BadFile(f"{folder}: holds no episode")
    whole: dict[str, Any] = {field: np.concatenate([rows[field] for rows in episodes]) for field in episodes[0]}
    return checked(folder, QLearning(**whole))


def _episode(source: str, episode: Any, parts: tuple[str | None, ...], low: np.ndarray, high: np.ndarray) -> dict:
    """The transitions of one episode by field."""
    boxes = [
        _rows(source, part, episode.observations if part is None else episode.observations[part]) for part in parts
    ]
    if len({len(box) for box in boxes}) > 1:
        raise BadFile(f"{source}: its parts of observations have {[len(box) for box in boxes]} rows; expected as many")
    obs = np.concatenate(boxes, -1)
    steps = len(obs) - 1
    actions = _rows(source, "actions", episode.actions)
    rewards = as_used(source, "rewards", numeric(source, "rewards", episode.rewards))
    terminals = flags(source, "terminations", episode.terminations)
    for key, array in (("actions", actions), ("rewards", rewards), ("terminations", terminals)):
        if steps < 1 or array.shape[:1] != (steps,) or array.ndim != (2 if key == "actions" else 1):
            raise BadFile(
                f"{source}: {key} has shape {array.shape} and observations {len(obs)} rows; "
                "expected one row for each step, and one observation more"
            )
    if actions.shape[1] != len(low):
        raise BadFile(f"{source}: actions has shape {actions.shape}, the declared box has {len(low)} columns")
    return {
        "observations": obs[:-1],
        "next_observations": obs[1:],
        "actions": scaled_actions(source, "actions", actions, low, high),
        "rewards": rewards,
        "terminals": terminals,
    }


def _rows(source: str, part: str | None, array: Any) -> np.ndarray:
    """Rows of numbers `[., .]`, float32."""
    key = part or "observations"
    array = numeric(source, key, array)
    if array.ndim != 2:
        raise BadFile(f"{source}: {key} has shape {array.shape}; expected one row for each step")
    return as_used(source, key, array) if key != "actions" else array
