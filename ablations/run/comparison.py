"""Several runs beside each other, one directory: carried out in turn, each kept as soon as it is done.

What was cut off goes on where it stopped when the same command is given again with the same `--out`.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablations.plan.config import RunConfig
from ablations.record import results
from ablations.record.directories import is_read_only, new_directory
from ablations.record.integrity import write_json
from ablations.run import claims, groups, progress
from ablations.run.execution import Execution
from ablations.run.pace import Pace
from core import locks
from tasks import Task

#: against divergence
REMEDY = "try a smaller --trainer.lr or --trainer.critic-lr, or --trainer.grad-norm 5"


@dataclass(frozen=True)
class Made:
    """How it went: whether it was interrupted, and a line for each seed of what is there that diverged."""

    interrupted: bool = False
    diverged: tuple[str, ...] = ()


def carry_out(
    runs: Sequence[RunConfig],
    task: Task,
    directory: Path,
    execution: Execution,
    study: str | None = None,
    only: Sequence[str] = (),
) -> Made:
    """Train and evaluate the runs, of a study those labelled `only` if any.

    One run fills `directory` itself; several fill one subdirectory each.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    due = [run for run in runs if not only or run.label in only]
    make = functools.partial(_make, task=task, execution=execution, pace=Pace(due))
    if len(runs) == 1 and study is None:
        interrupted = make(runs[0], directory, wait=None)
        if interrupted is None:
            claims.refuse_holder(directory)
        return Made(interrupted, _diverged(directory))
    listed = {"study": study, "runs": [run.label for run in runs]}
    with locks.taken(directory) as free:
        if not free:
            claims.refuse_holder(directory)
        # another process may have begun something since the command looked
        claims.check(runs, directory)
        directory.mkdir(exist_ok=True)
        if not is_read_only(directory):
            write_json(directory / "comparison.json", listed)
    interrupted, elsewhere = _make_all(due, directory, make)
    if elsewhere:
        print(f"{', '.join(elsewhere)}: left to other processes; the same command later shows all", file=sys.stderr)
    _note_divergence(directory, listed)
    return Made(interrupted, _diverged(directory))


def _make_all(due: Sequence[RunConfig], directory: Path, make: Callable[..., bool | None]) -> tuple[bool, list[str]]:
    """Make the runs: whether it was interrupted, and the labels of those that others train."""
    while True:
        elsewhere = []
        for run in due:
            interrupted = make(run, directory / run.label)
            if interrupted:
                return True, []
            if interrupted is None:
                elsewhere.append(run)
        # who had them may be gone by now
        if not elsewhere or len(elsewhere) == len(due):
            return False, [run.label for run in elsewhere]
        due = elsewhere


def _diverged(directory: Path) -> tuple[str, ...]:
    """A line for each seed of the runs there that diverged: which, where, why, and what may help."""
    return tuple(
        f"{record['label']}: seed {one['seed']} diverged at step {one['step']}: {one['reason']}; {REMEDY}"
        for record in map(results.read_config, results.run_directories(directory))
        for one in record.get("diverged", [])
    )


def _note_divergence(directory: Path, listed: dict[str, Any]) -> None:
    """Say in the comparison's own record which seeds of which runs have no result."""
    records = map(results.read_config, results.run_directories(directory))
    seeds = {record["label"]: [one["seed"] for one in record.get("diverged", [])] for record in records}
    diverged = {label: of_run for label, of_run in seeds.items() if of_run}
    if diverged and not is_read_only(directory):
        write_json(directory / "comparison.json", {**listed, "diverged": diverged})


def _make(
    run: RunConfig,
    place: Path,
    *,
    task: Task,
    execution: Execution,
    pace: Pace,
    wait: float | None = 0,
) -> bool | None:
    """Make the run of `place` unless it is there.

    Returns whether it was interrupted, or None where another process is at it. `wait`: as of `locks.taken`.
    """
    with locks.taken(place, wait, claims.said_of(run)) as ours:
        if not ours:
            claims.refuse_other_holder(place, run)
            print(f"{run.label}: another process is training it", file=sys.stderr)
            pace.skip(run)
            return None
        # it may have been made since the command looked
        if claims.check([run], place) and _is_done(place):
            # one that was killed when it had just ended left it
            progress.clear(place)
            pace.skip(run)
            return False
        interrupted = _carry_out(run, task, place, execution, pace)
        pace.skip(run)
        return interrupted


def _carry_out(run: RunConfig, task: Task, directory: Path, execution: Execution, pace: Pace) -> bool:
    """Make the directory of one run; returns whether it was interrupted."""
    with new_directory(directory, locks.alone(directory.parent)) as partial:
        asked = task.under(run.transforms, run.budget.eval_episodes)
        interrupted = groups.carry_out(run, asked, partial, directory, execution, pace)
    if interrupted:
        print(f"{run.label}: interrupted; the same command with the same --out goes on", file=sys.stderr)
    else:
        progress.clear(directory)
    return interrupted


def _is_done(place: Path) -> bool:
    """Whether the run that is there is whole; says what becomes of it."""
    config = results.read_config(place)
    interrupted = config["interrupted"]
    print(f"{config['label']}: {'was interrupted' if interrupted else 'already there'}", file=sys.stderr)
    return not interrupted
