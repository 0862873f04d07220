"""One run's seeds all together, or group after group where they do not fit in memory, joined into one directory.

Replicas are independent and each has its own randomness, so that the results are those of training them together.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path

import torch

from ablations.plan.config import RunConfig
from ablations.record import results, seeds_joined
from ablations.run import memory, progress, runner
from ablations.run.execution import Execution
from ablations.run.log import Log
from ablations.run.pace import Pace
from tasks import Task

#: from this many bytes, or steps, what a run needs is said before it starts
LARGE, LONG = 2**30, 10_000


def carry_out(
    run: RunConfig,
    task: Task,
    directory: Path,
    final: Path,
    execution: Execution,
    pace: Pace,
) -> bool:
    """Train, evaluate and write a run into a directory that exists; returns whether it was interrupted.

    `final`: what the directory will be called. Raises `KeyboardInterrupt` where a group was interrupted before it had
    anything to show.
    """
    # what is free changes from day to day, and seeds go on in the groups they began in
    seeds, kept = run.seeds, progress.seeds_together(run, final)
    size = execution.at_once or kept or _most(run, task, execution.device)
    if len(seeds) <= size:
        return _one(run, task, directory, final, execution, pace, f"{final.name}.log.csv")
    done: list[Path] = []
    for group in (seeds[start : start + size] for start in range(0, len(seeds), size)):
        part = directory / f".seeds-{group[0]}"
        part.mkdir()
        done.append(part)
        name = f"{final.name}.{group[0]}.log.csv"
        if _one(dataclasses.replace(run, seeds=group), task, part, final, execution, pace, name):
            break
    seeds_joined.join(done, directory)
    for part in done:
        shutil.rmtree(part)
    return results.read_config(directory)["interrupted"]


def _one(
    run: RunConfig, task: Task, directory: Path, final: Path, execution: Execution, pace: Pace, log_name: str
) -> bool:
    outcome = runner.train(run, task, final, execution, pace, Log(run, final.with_name(log_name), execution))
    if outcome.interrupted and not outcome.evaluations:
        raise KeyboardInterrupt
    runner.write(run, outcome, task, directory)
    interrupted = outcome.interrupted
    del outcome
    memory.release(execution.device)
    return interrupted


def _most(run: RunConfig, task: Task, device: torch.device) -> int:
    """How many seeds fit; says what they need where that is much or the run is long."""
    each = memory.of_one_seed(run, task.spec, device)
    fits, total = memory.fitting(each, device), each * len(run.seeds)
    if total >= LARGE or run.budget.steps >= LONG or fits < len(run.seeds):
        split = f"; trained {fits} at a time" if fits < len(run.seeds) else ""
        need = f"{len(run.seeds)} seeds need about {total / 2**20:.0f} MB"
        print(f"{run.label}: {need} of {memory.free(device) / 2**20:.0f} MB free{split}", file=sys.stderr)
    return fits
