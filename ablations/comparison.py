"""Several runs beside each other, one directory: carried out in turn, each kept as soon as it is done.

What was cut off goes on where it stopped when the same command is given again with the same `--out`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ablations import claims, groups, progress, results, runner
from ablations.config import RunConfig
from ablations.report import report
from core import locks
from tasks import Task, make_task


@dataclass(frozen=True)
class Ended:
    """How it went: the table of all that is there, if anything, whether it was interrupted, how which runs diverged."""

    table: str
    interrupted: bool = False
    failures: tuple[str, ...] = ()


def carry_out(
    runs: Sequence[RunConfig],
    directory: Path,
    device: torch.device,
    study: str | None = None,
    only: Sequence[str] = (),
    at_once: int | None = None,
) -> Ended:
    """Train and judge the runs, of a study those labelled `only` if any; `at_once`: seeds trained together, if not all.

    One run fills `directory` itself; several fill one subdirectory each, beside the figures that show them all. A run
    that diverges leaves the others to be done; `Diverged` is raised where nothing is left.
    """
    task = make_task(runs[0].task, runs[0].backend)
    task.prepare()
    directory.parent.mkdir(parents=True, exist_ok=True)
    make = functools.partial(_make, task=task, device=device, at_once=at_once)
    if len(runs) == 1 and study is None:
        interrupted = make(runs[0], directory, wait=None)
        if interrupted is None:
            claims.refuse_holder(directory)
        return Ended(report(directory, task, study), interrupted)
    listed = {"study": study, "runs": [run.label for run in runs]}
    with locks.taken(directory) as free:
        if not free:
            claims.refuse_holder(directory)
        # another process may have begun something since the command looked
        claims.check(runs, directory)
        directory.mkdir(exist_ok=True)
        results.write_json(directory / "comparison.json", listed)
    interrupted, failures, elsewhere = _make_all(
        [run for run in runs if not only or run.label in only], directory, make
    )
    if elsewhere:
        print(f"{', '.join(elsewhere)}: left to other processes; the same command later shows all", file=sys.stderr)
    # one that gave up may have taken it along
    directory.mkdir(exist_ok=True)
    results.write_json(directory / "comparison.json", listed)
    if results.run_directories(directory):
        return Ended(report(directory, task, study), interrupted, tuple(failures))
    _give_up(directory)
    if failures:
        raise runner.Diverged("; ".join(failures))
    return Ended("", interrupted)


def _make_all(
    due: Sequence[RunConfig], directory: Path, make: Callable[..., bool | None]
) -> tuple[bool, list[str], list[str]]:
    """Make the runs: whether it was interrupted, how runs diverged, and the labels of those that others train."""
    failures: list[str] = []
    while True:
        elsewhere = []
        for number, run in enumerate(due, 1):
            title = f"{run.label}: {number} of {len(due)}" if len(due) > 1 else ""
            try:
                interrupted = make(run, directory / run.label, title)
            except runner.Diverged as error:
                failures.append(str(error))
                continue
            if interrupted:
                return True, failures, []
            if interrupted is None:
                elsewhere.append(run)
        # who had them may be gone by now
        if not elsewhere or len(elsewhere) == len(due):
            return False, failures, [run.label for run in elsewhere]
        due = elsewhere


def _make(
    run: RunConfig,
    place: Path,
    title: str = "",
    *,
    task: Task,
    device: torch.device,
    at_once: int | None,
    wait: float | None = 0,
) -> bool | None:
    """Make the run of `place` unless it is there; `title`: what to say before training.

    Returns whether it was interrupted, or None where another process is at it. `wait`: as of `locks.taken`.
    """
    with locks.taken(place, wait, claims.said_of(run)) as ours:
        if not ours:
            claims.refuse_other_holder(place, run)
            print(f"{run.label}: another process is training it", file=sys.stderr)
            return None
        # it may have been made since the command looked
        if claims.check([run], place) and _is_done(place):
            return False
        if title:
            print(title, file=sys.stderr)
        return _carry_out(run, task, device, place, at_once)


def _give_up(directory: Path) -> None:
    """Leave nothing of a comparison of which nothing came."""
    # what others keep or make in it stays
    if all(path.name == "comparison.json" for path in directory.iterdir()):
        (directory / "comparison.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def _carry_out(run: RunConfig, task: Task, device: torch.device, directory: Path, at_once: int | None) -> bool:
    """Make the directory of one run; returns whether it was interrupted."""
    try:
        with results.new_directory(directory, locks.alone(directory.parent)) as partial:
            asked = task.under(run.transforms, run.budget.eval_episodes)
            interrupted = groups.carry_out(run, asked, device, partial, directory, at_once)
    except runner.Diverged:
        progress.clear(directory)
        raise
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
