"""What is shown of a run or a comparison that is there: its table, its figures, and the numbers behind them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ablations.analysis import protocols, statistics
from ablations.figures import FIGURES
from ablations.figures.drawing import attempt
from ablations.plan.studies import STUDIES
from ablations.record import results
from ablations.record.directories import is_read_only
from ablations.record.integrity import beside
from ablations.report.table import table
from core import locks
from tasks import Task
from tasks.known import of_record


class Shown(NamedTuple):
    """A table, a line for each figure that could not be drawn, and the table with all metrics."""

    table: str
    failures: tuple[str, ...] = ()
    whole: str = ""


def show(directory: Path, task: Task, study: str | None) -> Shown:
    """Draw the figures of a run or a comparison into its directory and return its table."""
    # runs that came between one reading and the next would be in one figure and not in another
    with locks.alone(directory):
        return _show(directory, task, study)


def _show(directory: Path, task: Task, study: str | None) -> Shown:
    metrics, chosen = results.load_metrics(directory), protocols.by_protocol(directory)
    runs = [name for run in results.run_directories(directory) for name in results.names_of(results.read_config(run))]
    if metrics.empty:
        text = table(metrics, {}, pd.DataFrame(), runs)
        return Shown(text, whole=text)
    summary = statistics.summarise(metrics)
    tables = {
        "summary": statistics.final(summary),
        "protocols": statistics.summarise(chosen, protocols.COLUMNS),
        "differences": statistics.paired_differences(pd.concat([statistics.final(metrics), chosen])),
    }
    failures: list[str | None] = []
    if is_read_only(directory):
        print(f"{directory}: is read-only; its table is shown, its files stay as they are", file=sys.stderr)
    else:
        failures = _write(directory, tables, summary, figures_of(directory, task, study, set(metrics["metric"])))
    reference = {metric: float(values[0]) for metric, values in _reference(directory, task).items()}
    rows = pd.concat([tables["summary"], tables["protocols"]])
    short, whole = (table(rows, reference, tables["differences"], runs, every) for every in (False, True))
    return Shown(short, tuple(filter(None, failures)), whole)


def _write(
    directory: Path, tables: Mapping[str, pd.DataFrame], summary: pd.DataFrame, figures: Sequence[str]
) -> list[str | None]:
    """The tables as CSV and the figures; returns a line for each figure that could not be drawn."""
    for name, rows in tables.items():
        if not rows.empty:
            with beside(directory / f"{name}.csv") as partial:
                rows.to_csv(partial, index=False)
    failures = []
    for index, name in enumerate(figures):
        path = directory / (f"{name}.png" if index else "figure.png")
        failures.append(attempt(functools.partial(FIGURES[name], directory, summary, path), path))
    return failures


def _reference(directory: Path, task: Task) -> Mapping[str, np.ndarray]:
    """What fresh data score on the task as the runs had it; nothing where they differ in the task's options."""
    records = map(results.read_config, results.run_directories(directory))
    asked = [record["options"].get("task", {}) for record in records]
    if any(one != asked[0] for one in asked):
        return {}
    # what only transforms data for learning is evaluated as it is
    return (of_record(task, asked[0]) if task.data_by_options else task).reference().metrics


def figures_of(directory: Path, task: Task, study: str | None, metrics: set[str]) -> list[str]:
    """The study's own where its runs differ as it says, else the task's, and those of a number swept."""
    own, swept = _of_study(study), results.swept(directory) is not None
    if own and (swept if {"sweep", "frontier"} & set(own) else not results.varied(directory)):
        return list(own)
    of_sweep = ["sweep", *(["frontier"] if {"kl", "reward"} <= metrics else [])]
    return [*task.figures, *(of_sweep if swept else [])]


def _of_study(study: str | None) -> tuple[str, ...]:
    return tuple(STUDIES[study].figures) if study in STUDIES else ()


def refuse_missing_samples(places: Sequence[Path], task: Task, study: str | None) -> None:
    """Raise `OptionError` where the figures show samples, and those of a run that is there cannot be read."""
    shown = "samples" in (_of_study(study) or task.figures)
    for place in places:
        if shown or (place / "samples.npz").exists():
            results.load_samples(place)
