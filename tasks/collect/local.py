"""The `local:` datasets by name: made on demand into a cache, once, and read from there like any D4RL file.

The cache is $POLICY_ABLATION_CACHE, else ~/.cache/policy-ablation. A file that was made by another version of its
recipe is made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core.options import OptionError
from tasks.collect import locomotion, play, pointmaze
from tasks.collect.record import about, episode_statistics, write
from tasks.d4rl_names import D4RL, LOCOMOTION
from tasks.kinds import ONE_AT_GOAL, Kind
from tasks.simulators import Simulator
from tasks.validation import BadFile

SEED = 0


@dataclass(frozen=True)
class Local:
    """One dataset that is made here."""

    obs_dim: int
    act_dim: int
    #: returns of a random policy and of an expert; None where the score is the share of episodes solved
    reference: tuple[float, float] | None
    simulator: Simulator
    make: Callable[[int], dict[str, np.ndarray]]  # seed -> arrays of a D4RL file
    #: raised when the recipe changes what it makes
    version: int = 1
    #: the published dataset whose recipe it follows
    made_after: str | None = None
    kind: Kind | None = None


def _locomotion() -> dict[str, Local]:
    made = {}
    for body in locomotion.SIMULATORS:
        obs_dim, act_dim, reference = LOCOMOTION[body]
        for kind in locomotion.KINDS:
            simulator, make = locomotion.SIMULATORS[body], partial(locomotion.collect, body, kind)
            after = f"{body}-{kind}-v2"
            made[f"local:{body}-{kind}"] = Local(
                obs_dim,
                act_dim,
                reference,
                simulator,
                make,
                made_after=after if after in D4RL else None,
                kind=Kind("locomotion", body),
            )
    return made


LOCAL: dict[str, Local] = {
    **{
        f"local:pointmaze-{maze}": Local(
            4,
            2,
            pointmaze.REFERENCES[maze],
            pointmaze.simulator(maze),
            partial(pointmaze.collect, maze),
            kind=Kind("maze2d", maze, ONE_AT_GOAL),
        )
        for maze in pointmaze.MAZES
    },
    **_locomotion(),
    **{
        f"local:{kind}-play": Local(
            obs_dim,
            play.ACT_DIM,
            None,
            play.simulator(kind),
            partial(play.collect, kind),
            version=3,
            kind=Kind("manipulation", kind),
        )
        for kind, (obs_dim, _) in play.KINDS.items()
    },
}


def cache() -> Path:
    """The folder of the datasets made here."""
    named = os.environ.get("POLICY_ABLATION_CACHE")
    return Path(named).expanduser() if named else Path("~/.cache/policy-ablation").expanduser()


def path(name: str) -> Path:
    """Where a dataset is, or will be."""
    return cache() / f"{name.removeprefix('local:')}-{LOCAL[name].version}.hdf5"


def locate(name: str) -> Path:
    """The file of a dataset, made where it is not there. Raises `OptionError` where it cannot be, or is another's."""
    file = path(name)
    if not file.exists():
        make(name)
    made_for = about(file).get("task", name)
    if made_for != name:
        raise BadFile(f"{file}: holds the data of {made_for}, expected {name}; delete it and it is made again")
    return file


def physics_of(name: str) -> dict[str, str]:
    """What computed the motion in a dataset's file; nothing where it is not here or does not say."""
    try:
        told = about(path(name)).get("physics", {})
    except BadFile:
        return {}
    return {key: str(value) for key, value in told.items()} if isinstance(told, dict) else {}


def make(name: str) -> dict[str, float]:
    """Make a dataset's file anew; returns its statistics."""
    dataset = LOCAL[name]
    try:
        cache().mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        arrays = dataset.make(SEED)
        statistics = {**episode_statistics(arrays), "seconds": round(time.perf_counter() - began, 1)}
        told = {"task": name, "seed": SEED, "physics": dataset.simulator.physics(), **statistics}
        write(path(name), arrays, told)
    except OSError as error:
        raise OptionError(f"{name}: its data cannot be written to {cache()} ({error.strerror or error})") from None
    return statistics
