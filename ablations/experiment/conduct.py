"""Complete runs, carried out and shown: trained and evaluated in a directory, whose table and figures follow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ablations.plan import sense
from ablations.plan.config import RunConfig
from ablations.record import results
from ablations.report import showing
from ablations.run import claims, comparison, compiling
from ablations.run.execution import Execution
from tasks import Task, make_task


@dataclass(frozen=True)
class Ended:
    """How it went: the table of what is there, whether it was interrupted, which seeds and figures failed.

    `whole` is the table with all metrics.
    """

    table: str
    interrupted: bool = False
    failures: tuple[str, ...] = ()
    whole: str = ""


def claim(runs: Sequence[RunConfig], directory: Path, study: str | None = None) -> None:
    """Make sure, before training, that `directory` can take these runs, and that what is there can be shown."""
    showing.refuse_missing_samples(claims.claim(runs, directory), _task_of(runs), study)


def begin(
    runs: Sequence[RunConfig],
    directory: Path,
    device: torch.device,
    compile: str,
    study: str | None = None,
    lines: Sequence[str] = (),
    claiming: bool = True,
) -> None:
    """What comes before training: say `lines` and what is doubtful, `claim` the directory if `claiming`, compile."""
    for line in [*lines, *sense.lines_of(runs)]:
        print(line, file=sys.stderr)
    if claiming:
        claim(runs, directory, study)
    note = compiling.fuse_if_it_pays(compile, runs, device)
    if note:
        print(note, file=sys.stderr)


def carry_out(
    runs: Sequence[RunConfig],
    directory: Path,
    execution: Execution,
    study: str | None = None,
    only: Sequence[str] = (),
) -> Ended:
    """Train and evaluate the runs and draw what is there; the arguments are those of `comparison.carry_out`."""
    task = _task_of(runs)
    task.prepare_for({run.transforms for run in runs})
    print(_described(task, runs), file=sys.stderr)
    made = comparison.carry_out(runs, task, directory, execution, study, only)
    if not results.run_directories(directory):
        return Ended("", made.interrupted)
    shown = showing.show(directory, task, study)
    return Ended(shown.table, made.interrupted, (*made.diverged, *shown.failures), shown.whole)


def describe(runs: Sequence[RunConfig]) -> str:
    """What the runs' task learns from, in a block of lines; data that are not there are fetched or made."""
    return _described(_task_of(runs), runs)


def _task_of(runs: Sequence[RunConfig]) -> Task:
    return make_task(runs[0].task, runs[0].backend)


def _described(task: Task, runs: Sequence[RunConfig]) -> str:
    # transforms are of learning, the data are described before them; other options make other data
    asked = dict.fromkeys(run.transforms for run in runs)
    shown = [task.under(of) for of in asked] if task.data_by_options else [task]
    return "\n".join(one.described() for one in shown)
