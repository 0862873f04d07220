"""Several runs beside each other, one directory: carried out in turn, each kept as soon as it is done.

What was cut off goes on where it stopped when the same command is given again with the same `--out`.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import torch

from ablations import groups, locks, progress, protocols, results, runner, statistics
from ablations.config import RunConfig
from ablations.figures import FIGURES
from ablations.studies import STUDIES
from ablations.table import table
from core.options import OptionError
from tasks import Task, make_task


@dataclass(frozen=True)
class Ended:
    """How it went: the table of all that is there, whether it was interrupted, and which runs diverged, how."""

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
    if len(runs) == 1 and study is None:
        interrupted = _make(runs[0], task, device, directory, at_once)
        if interrupted is None:
            raise OptionError(f"--out {directory}: another process is training this run; name a new directory")
        return Ended(report(directory, task, study), interrupted)
    directory.mkdir(parents=True, exist_ok=True)
    results.write_json(directory / "comparison.json", {"study": study, "runs": [run.label for run in runs]})
    failures, elsewhere, interrupted = [], [], False
    due = [run for run in runs if not only or run.label in only]
    for number, run in enumerate(due, 1):
        title = f"{run.label}: {number} of {len(due)}" if len(due) > 1 else ""
        try:
            interrupted = _make(run, task, device, directory / run.label, at_once, title)
        except runner.Diverged as error:
            failures.append(str(error))
            continue
        if interrupted is None:
            elsewhere.append(run.label)
        elif interrupted:
            break
    if not results.run_directories(directory):
        _give_up(directory, failures, elsewhere)
    missing = [label for label in elsewhere if not (directory / label).exists()]
    if missing:
        print(f"{', '.join(missing)}: left to other processes; the same command later shows all", file=sys.stderr)
    return Ended(report(directory, task, study), bool(interrupted), tuple(failures))


def _give_up(directory: Path, failures: Sequence[str], elsewhere: Sequence[str]) -> NoReturn:
    """Say why there is nothing to report, and leave nothing of this process behind."""
    if elsewhere and not failures:
        raise OptionError(f"--out {directory}: other processes are training {', '.join(elsewhere)}; wait for them")
    # what others keep or make in it stays
    if all(path.name == "comparison.json" for path in directory.iterdir()):
        (directory / "comparison.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()
    raise runner.Diverged("; ".join(failures))


def _make(
    run: RunConfig, task: Task, device: torch.device, place: Path, at_once: int | None, title: str = ""
) -> bool | None:
    """Make the run of `place` unless it is there; `title`: what to say before training.

    Returns whether it was interrupted, or None where another process is at it.
    """
    with locks.taken(place) as ours:
        if not ours:
            print(f"{run.label}: another process is training it", file=sys.stderr)
            return None
        if (place / "config.json").exists():
            # another process may have made it since the command began
            _refuse_others(place, place, run)
            if _is_done(place):
                return False
        if title:
            print(title, file=sys.stderr)
        return _carry_out(run, task, device, place, at_once)


def _carry_out(run: RunConfig, task: Task, device: torch.device, directory: Path, at_once: int | None) -> bool:
    """Make the directory of one run; returns whether it was interrupted."""
    try:
        with results.new_directory(directory) as partial:
            interrupted = groups.carry_out(run, task.under(run.transforms), device, partial, directory, at_once)
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


def report(directory: Path, task: Task, study: str | None) -> str:
    """Draw the figures of a run or a comparison into its directory and return its table."""
    metrics, chosen = results.load_metrics(directory), protocols.by_protocol(directory)
    summary = statistics.summarise(metrics)
    tables = {
        "summary": statistics.final(summary),
        "protocols": statistics.summarise(chosen, protocols.COLUMNS),
        "differences": statistics.paired_differences(pd.concat([statistics.final(metrics), chosen])),
    }
    for name, rows in tables.items():
        if not rows.empty:
            rows.to_csv(directory / f"{name}.csv", index=False)
    for index, name in enumerate(_figures(directory, task, study)):
        path = directory / (f"{name}.png" if index else "figure.png")
        FIGURES[name](directory, summary, path)
    reference = {metric: float(values[0]) for metric, values in task.reference().metrics.items()}
    return table(pd.concat([tables["summary"], tables["protocols"]]), reference, tables["differences"])


def _figures(directory: Path, task: Task, study: str | None) -> list[str]:
    """The study's own where its runs differ as it says, else the task's, and that of a number swept."""
    own = _of_study(study)
    if own and (results.swept(directory) if "sweep" in own else not results.varied(directory)):
        return list(own)
    return [*task.figures, *(["sweep"] if results.swept(directory) else [])]


def _of_study(study: str | None) -> tuple[str, ...]:
    return STUDIES[study].figures if study in STUDIES else ()


def refuse_missing_samples(places: Sequence[Path], task: Task, study: str | None) -> None:
    """Raise `OptionError` where the figures show samples, and those of a run that is there cannot be read."""
    shown = "samples" in (_of_study(study) or task.figures)
    for place in places:
        if shown or (place / "samples.npz").exists():
            results.load_samples(place)


def claim(runs: Sequence[RunConfig], directory: Path, study: str | None = None) -> None:
    """Make sure, before training, that `directory` can take these runs: new, or what was cut off of their own."""
    with results.writable(directory):
        there = _claim(runs, directory)
    refuse_missing_samples(there, make_task(runs[0].task, runs[0].backend), study)


def _claim(runs: Sequence[RunConfig], directory: Path) -> list[Path]:
    """The directories of those of the runs that are there."""
    if len(runs) == 1 and (directory / "config.json").is_file():
        _refuse_others(directory, directory, runs[0])
        return [directory]
    if not (directory / "comparison.json").is_file():
        results.claim(directory)
        return []
    try:
        listed = json.loads((directory / "comparison.json").read_text())["runs"]
    except (ValueError, KeyError, TypeError):
        raise OptionError(f"--out {directory}: its comparison.json cannot be read; name a new directory") from None
    if listed != [run.label for run in runs]:
        raise OptionError(f"--out {directory}: already holds the comparison of {', '.join(listed)}; name a new one")
    there = [run for run in runs if (directory / run.label).is_dir()]
    for run in there:
        _refuse_others(directory, directory / run.label, run)
    return [directory / run.label for run in there]


def _refuse_others(directory: Path, place: Path, run: RunConfig) -> None:
    """Raise `OptionError` where the run in `place`, within `directory`, is not the one asked for."""
    asked = json.loads(json.dumps(run.record()))
    there = _readable(place)
    results.load_run(place)
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


def _readable(place: Path) -> dict[str, Any]:
    try:
        config = results.read_config(place)
        config["interrupted"], config["views"]
    except (OSError, ValueError, LookupError, TypeError):
        raise OptionError(f"--out: {place}/config.json is not that of a run; remove {place} and repeat") from None
    return config
