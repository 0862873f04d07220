"""Whether a directory can take the runs of a command: it is new, or holds these very runs, whole or cut off."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ablations.plan.config import RunConfig
from ablations.record import directories as new
from ablations.record import integrity, results
from ablations.record.form import problem_of_run
from core import locks
from core.options import OptionError


def claim(runs: Sequence[RunConfig], directory: Path) -> list[Path]:
    """Make sure, before training, that `directory` can take these runs: new, or what was cut off of their own.

    Returns the directories of those that are there.
    """
    with new.writable(directory), locks.taken(directory) as free:
        if not free:
            refuse_holder(directory)
        return check(runs, directory)


def check(runs: Sequence[RunConfig], directory: Path) -> list[Path]:
    """The directories of those of the runs that are there. Raises `OptionError` where something else is."""
    if len(runs) == 1 and (directory / "config.json").is_file():
        _refuse_others(directory, directory, runs[0])
        return [directory]
    if not (directory / "comparison.json").is_file():
        new.claim(directory)
        return []
    try:
        listed = results.read_comparison(directory)["runs"]
    except integrity.UNREADABLE:
        raise OptionError(f"--out {directory}: its comparison.json cannot be read; name a new directory") from None
    if listed != [run.label for run in runs]:
        raise OptionError(f"--out {directory}: already holds the comparison of {', '.join(listed)}; name a new one")
    there = [run for run in runs if (directory / run.label).is_dir()]
    for run in there:
        _refuse_others(directory, directory / run.label, run)
    return [directory / run.label for run in there]


def refuse_holder(directory: Path) -> NoReturn:
    """Say that another process trains the run of `directory`."""
    raise OptionError(f"--out {directory}: another process is training a run in it; wait for it, or name a new one")


def refuse_other_holder(place: Path, run: RunConfig) -> None:
    """Raise `OptionError` where what another process trains in `place` is not the run asked for."""
    try:
        there = json.loads(locks.holder(place))
    except (ValueError, RecursionError):  # it is about to say it, or gone
        return
    if not isinstance(there, dict) or problem_of_run({"interrupted": False, **there}):
        # no process of ours says such a thing
        return
    asked = json.loads(said_of(run))
    changed = [key for key, value in asked.items() if key != "varied" and there.get(key) != value]
    if changed:
        other = results.differences(there, asked, changed)
        raise OptionError(f"--out {place}: another process is training {run.label} with other {other}; name a new one")


def said_of(run: RunConfig) -> str:
    """What a process says of the run it trains to those that find it locked."""
    return json.dumps(run.record())


def _refuse_others(directory: Path, place: Path, run: RunConfig) -> None:
    """Raise `OptionError` where the run in `place`, within `directory`, is not the one asked for."""
    asked = json.loads(said_of(run))
    there = _readable(place)
    # groups of seeds that were not begun when it was interrupted
    begun = there["interrupted"] and "groups" in there and set(there["seeds"]) <= set(asked["seeds"])
    alike = begun or set(there["seeds"]) == set(asked["seeds"])
    apart = {"views", "varied", *(["seeds"] if alike else [])}
    changed = [key for key, value in asked.items() if key not in apart and there.get(key) != value]
    without_cost = [[{**view, "forwards": None} for view in record["views"]] for record in (there, asked)]
    changed += ["views"] if without_cost[0] != without_cost[1] else []
    if changed:
        other = results.differences(there, asked, changed)
        raise OptionError(f"--out {directory}: already holds {run.label} with other {other}; name a new one")
    # what was interrupted is made anew
    if not there["interrupted"]:
        _refuse_damaged(place, there)


def _refuse_damaged(place: Path, record: dict[str, Any]) -> None:
    """Raise `OptionError` where files of a run are not what its record says; name those that are missing."""
    integrity.say_missing(place, record)
    results.load_run(place)
    results.load_training(place)


def _readable(place: Path) -> dict[str, Any]:
    try:
        return results.read_config(place)
    except integrity.Damaged as error:
        raise OptionError(f"--out: {error}") from None
    except integrity.UNREADABLE:
        raise OptionError(f"--out: {place}/config.json is not that of a run; remove {place} and repeat") from None
