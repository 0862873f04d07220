"""Rolling a behaviour out into the arrays of a D4RL file, and writing the file.

Axes: m episodes side by side, N steps in all, O observation, A action. Episodes come one after another in the file;
each has its own generator, so the data do not depend on which process it ran in.
"""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.bars import progress_bar
from tasks import containers
from tasks.fleet import Fleet, Moment, Workers, launch
from tasks.simulators import Simulator

#: episodes side by side
ABREAST = 16


class Behaviour(Protocol):
    """What acts while data are recorded, in m episodes at a time."""

    def start(self, obs: np.ndarray, generators: list[np.random.Generator]) -> None:
        """Forget the episodes before; new ones begin at `obs` `[m, O]`."""
        ...

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions `[m, A]` in [-1, 1] at `obs` `[m, O]`."""
        ...


def record(
    simulator: Simulator, behaviour: Behaviour, steps: int, seed: int, name: str, fleet: Fleet | Workers | None = None
) -> dict[str, np.ndarray]:
    """At least `steps` steps in whole episodes, as the arrays of a D4RL file; in `fleet` where one is running."""
    own = launch(simulator, ABREAST) if fleet is None else None
    fleet = fleet or own
    episodes: list[dict[str, np.ndarray]] = []
    done = 0
    with progress_bar(total=steps, desc=name, unit="step") as bar:
        while done < steps:
            sources = np.random.SeedSequence([seed, len(episodes)]).spawn(ABREAST)
            wave = _wave(fleet, behaviour, sources)
            for episode in wave:
                if done < steps:
                    episodes.append(episode)
                    done += len(episode["rewards"])
                    bar.update(min(len(episode["rewards"]), bar.total - bar.n))
    if own:
        own.close()
    return {key: np.concatenate([episode[key] for episode in episodes]) for key in episodes[0]}


def _wave(fleet, behaviour: Behaviour, sources: list[np.random.SeedSequence]) -> list[dict[str, np.ndarray]]:
    """One episode from each source of randomness."""
    now = fleet.reset(np.array([source.generate_state(1)[0] >> 1 for source in sources], np.int64))
    behaviour.start(now.obs, [np.random.default_rng(source.spawn(1)[0]) for source in sources])
    moments: list[tuple[np.ndarray, np.ndarray, Moment]] = []
    lengths = np.zeros(len(sources), np.int64)
    while not now.over.all():
        lengths += ~now.over
        obs, action = now.obs, np.clip(behaviour.act(now.obs), -1, 1)
        now = fleet.step(action)
        moments.append((obs, action, now))
    return [
        _episode([(obs[i], action[i], after, i) for obs, action, after in moments[: lengths[i]]])
        for i in range(len(sources))
    ]


def _episode(rows: list[tuple[np.ndarray, np.ndarray, Moment, int]]) -> dict[str, np.ndarray]:
    return {
        "observations": np.array([obs for obs, _, _, _ in rows], np.float32),
        "actions": np.array([action for _, action, _, _ in rows], np.float32),
        "rewards": np.array([after.reward[i] for _, _, after, i in rows], np.float32),
        "next_observations": np.array([after.obs[i] for _, _, after, i in rows], np.float32),
        "terminals": np.array([after.terminated[i] for _, _, after, i in rows]),
        # D4RL marks the time limit only where the episode is not over by itself
        "timeouts": np.array([after.truncated[i] & ~after.terminated[i] for _, _, after, i in rows]),
    }


def write(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """A D4RL HDF5 file with checksums in it and `about` as its attribute; complete or not there at all."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with h5py.File(part, "w") as file:
            file.attrs["about"] = json.dumps(about)
            for key, array in arrays.items():
                file.create_dataset(key, data=array, compression="gzip", compression_opts=1, fletcher32=True)
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def about(path: Path) -> dict[str, Any]:
    """What the file says of itself; nothing where it is not one of ours. Raises `BadFile` where it cannot be read."""
    with containers.hdf5(path) as file:
        told = file.attrs.get("about", "{}")
        said = json.loads(told) if isinstance(told, str) else None
        if not isinstance(said, dict):
            raise ValueError("what it says of itself is no JSON object")
        return said


def episodes_of(arrays: dict[str, np.ndarray]) -> list[slice]:
    """The steps of each episode. Play goes on after a goal, and its files have no next observations."""
    stops = arrays["terminals"] & ("next_observations" in arrays)
    ends = np.flatnonzero(arrays["timeouts"] | stops) + 1
    return [slice(begin, end) for begin, end in itertools.pairwise([0, *ends.tolist()])]


def episode_statistics(arrays: dict[str, np.ndarray]) -> dict[str, float]:
    """Transitions, episodes and the mean, smallest and largest return."""
    rewards = arrays["rewards"].astype(np.float64)
    returns = np.array([rewards[part].sum() for part in episodes_of(arrays)])
    return {
        "transitions": len(rewards),
        "episodes": len(returns),
        "mean": float(returns.mean()),
        "min": float(returns.min()),
        "max": float(returns.max()),
    }
