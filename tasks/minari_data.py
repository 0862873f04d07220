"""`minari:` tasks: any continuous dataset of Minari by its id, such as `minari:mujoco/hopper/medium-v0`.

Read through the minari package, from $MINARI_DATASETS_PATH or ~/.minari/datasets, else downloaded by it; evaluated in
the environment that the dataset names (tasks/minari_environment.py). Minari keeps the last observation of each episode,
so that, other than in D4RL's files, no transition is lost at a time limit.

Axes: n transitions, O observation, A action. Dictionary observations: tasks/observations.py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from functools import partial, reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks import containers, minari_environment
from tasks.collect import local
from tasks.d4rl_reader import QLearning
from tasks.kinds import kind_of
from tasks.observations import boxes, is_box, kept
from tasks.offline import Recipe
from tasks.own import env
from tasks.simulators import packages_for
from tasks.validation import BadFile, as_used, checked, flags, numeric, scaled_actions

PREFIX = "minari:"
ID = re.compile(r"([-_\w]+/)*[-_\w]+-v\d+", re.ASCII)
#: files of a dataset
METADATA, MAIN = "metadata.json", "main_data.hdf5"
#: rows by which it is decided what of a dictionary repeats what
LOOKED_AT = 10_000


def check_name(name: str) -> None:
    """Raises `OptionError` for what cannot be an id; needs neither the package nor the network."""
    if not ID.fullmatch(name.removeprefix(PREFIX)):
        raise OptionError(
            f"--task: {name!r} is no id of Minari; one is minari:(namespace/)name-vN, as minari:mujoco/hopper/medium-v0"
        )


def recipe(name: str, asked: str | None = None) -> Recipe:
    """The task of this name, its dataset found or downloaded; `asked`: the environment the user names, if any.

    Raises `OptionError` where that cannot be.
    """
    return recipe_of(name, _dataset(name, asked), asked)


def recipe_of(name: str, dataset: Any, asked: str | None = None) -> Recipe:
    """The task of this dataset."""
    leaves, actions = boxes(name, dataset.observation_space), dataset.action_space
    if not is_box(actions) or not np.isfinite([actions.low, actions.high]).all() or (actions.low >= actions.high).any():
        raise OptionError(f"{name}: actions are {actions}; policies here act in a bounded box of one dimension")
    folder, metadata = dataset.storage.data_path, dataset.storage.metadata
    with containers.boundary(folder, "a dataset of Minari"):
        paths = kept(list(leaves), _looked_at(folder, dataset, list(leaves))) if len(leaves) > 1 else tuple(leaves)
        longest = max((steps for _, steps in _lengths(dataset)), default=0)
    vector = tuple(filter(None, paths))
    obs_dim, act_dim = sum(leaves[path].shape[0] for path in paths), actions.shape[0]
    if asked is None:
        evaluated = minari_environment.of(folder / METADATA, metadata, vector, longest)
    else:
        evaluated = env.named(asked, vector, longest)
        if evaluated.simulator:
            env.box(evaluated.simulator, obs_dim, act_dim)
    # rewards are those of the environment that the data were recorded in
    recorded = dataset.env_spec or dataset._eval_env_spec if asked is None else None
    return Recipe(
        name,
        obs_dim,
        act_dim,
        evaluated.limit,
        evaluated.reference,
        load=partial(transitions, name, dataset, paths),
        simulator=evaluated.simulator,
        kind=recorded and kind_of(recorded.entry_point, recorded.kwargs),
        notes=evaluated.notes,
        box=(actions.low.astype(np.float64), actions.high.astype(np.float64)),
    )


def _lengths(dataset: Any) -> Iterator[tuple[int, int]]:
    """Number and steps of each episode."""
    for told in dataset.storage.get_episode_metadata(dataset.episode_indices):
        yield int(told["id"]), int(told["total_steps"])


def _looked_at(folder: Path, dataset: Any, paths: list[tuple[str, ...]]) -> dict[tuple[str, ...], np.ndarray]:
    """Rows of each part, of the first episodes."""
    rows: dict[tuple[str, ...], list[np.ndarray]] = {path: [] for path in paths}
    for episode in dataset.iterate_episodes():
        for path in paths:
            rows[path].append(_rows(f"{folder}: episode {episode.id}", path, episode.observations))
        if sum(map(len, rows[paths[0]])) >= LOOKED_AT:
            break
    if not rows[paths[0]]:
        raise BadFile(f"{folder}: holds no episode")
    return {path: np.concatenate(of) for path, of in rows.items()}


def dataset_in(folder: Path, asked: str | None = None):
    """The dataset whose files are in a folder; `asked`: the environment the user names, if any."""
    with packages_for(str(folder)):
        import minari
    _refuse_unsafe(folder, asked)
    with containers.boundary(folder, "a dataset of Minari", "damaged or incomplete?"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return minari.MinariDataset(folder)


def _dataset(name: str, asked: str | None = None):
    """The dataset, local or downloaded by minari."""
    with packages_for(name):
        import minari
        from minari.storage import get_dataset_path
    identity = name.removeprefix(PREFIX)
    folder = get_dataset_path(identity)
    there = (folder / "data").exists()
    if there:
        _refuse_unsafe(folder / "data", asked)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if not there:
                minari.storage.hosting.download_dataset(identity)
                _refuse_unsafe(folder / "data", asked)
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


def _refuse_unsafe(folder: Path, asked: str | None) -> None:
    """Look at a dataset's files before minari does, which makes the environment of one that leaves out its spaces.

    The environment that they name is not looked at where the user `asked` for another, or for none.
    """
    metadata = containers.json_object(folder / METADATA)
    for key in ("observation_space", "action_space"):
        if not isinstance(metadata.get(key), str):
            raise BadFile(f"{folder / METADATA}: has no {key}; expected gymnasium's description of it")
    if asked is None:
        try:
            minari_environment.described(folder / METADATA, metadata)
        except BadFile as error:
            raise BadFile(f"{error}; --task.env none learns from it without a simulator") from None
    if metadata.get("data_format", "hdf5") == "hdf5":
        with containers.hdf5(folder / MAIN):
            pass


def nearest_local(identity: str) -> str:
    """The task whose name shares most words with the id."""
    words = set(re.split(r"[-/_]", identity.lower()))
    return max(local.LOCAL, key=lambda name: len(words & set(re.split(r"[-:]", name))))


def transitions(name: str, dataset: Any, paths: tuple[tuple[str, ...], ...]) -> QLearning:
    """All steps of all episodes, actions scaled to [-1, 1]. Raises `BadFile` for what cannot be used."""
    low, high = (bound.astype(np.float64) for bound in (dataset.action_space.low, dataset.action_space.high))
    folder = dataset.storage.data_path
    episodes = []
    with containers.boundary(folder, "a dataset of Minari"):
        for episode in dataset.iterate_episodes():
            episodes.append(_episode(f"{folder}: episode {episode.id}", episode, paths, low, high))
            wide = {key: array.shape[1:] for key, array in episodes[-1].items()}
            first = {key: array.shape[1:] for key, array in episodes[0].items()}
            if wide != first:
                raise BadFile(f"{folder}: episode {episode.id} has rows of {wide}, the first of {first}")
    if not episodes:
        raise BadFile(f"{folder}: holds no episode")
    whole: dict[str, Any] = {field: np.concatenate([rows[field] for rows in episodes]) for field in episodes[0]}
    begins = np.cumsum([0, *(len(rows["rewards"]) for rows in episodes)])[:-1]
    return checked(folder, QLearning(**whole, begins=begins))


def _episode(source: str, episode: Any, paths: tuple[tuple[str, ...], ...], low: np.ndarray, high: np.ndarray) -> dict:
    """The transitions of one episode by field."""
    parts = [_rows(source, path, episode.observations) for path in paths]
    if len({len(part) for part in parts}) > 1:
        rows = [len(part) for part in parts]
        raise BadFile(f"{source}: its parts of observations have {rows} rows; expected as many")
    obs = np.concatenate(parts, -1)
    steps = len(obs) - 1
    actions = numeric(source, "actions", episode.actions)
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


def _rows(source: str, path: tuple[str, ...], observations: Any) -> np.ndarray:
    """Rows of numbers of one part `[., .]`, float32."""
    key = "/".join(path) or "observations"
    array = numeric(source, key, reduce(getitem, path, observations))
    if array.ndim != 2:
        raise BadFile(f"{source}: {key} has shape {array.shape}; expected one row for each step")
    return as_used(source, key, array)
