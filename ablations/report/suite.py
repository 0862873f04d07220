"""The same runs on several tasks, read together: directories that are there already, one for each task.

Writes `scores.csv` (tidy: run, task, rule, view, seed, value), `aggregate.csv` (each statistic of each run, and
against each run before it), `profiles.csv` (the share of scores above each value) and `figure.png`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ablations.analysis import aggregates, protocols, statistics
from ablations.figures.drawing import attempt
from ablations.figures.profiles import draw_profiles
from ablations.plan.views import AS_TRAINED
from ablations.record import results
from ablations.record.directories import claim, new_directory
from ablations.record.integrity import UNREADABLE, say_missing
from ablations.report.showing import Shown
from ablations.report.table import table_over_tasks
from core.options import OptionError

#: how a run with one evaluation is read as well
LAST = "last"


def read(directories: Sequence[Path]) -> pd.DataFrame:
    """Scores of the runs that every directory has, by the rules that all of them can be read by.

    Raises `OptionError` for a directory that is no run and no comparison, has no score, or has another's task.
    """
    tables = [_read_one(directory) for directory in directories]
    tasks = [table["task"].iloc[0] for table in tables]
    twice = next((task for task in tasks if tasks.count(task) > 1), None)
    if twice:
        raise OptionError(f"--aggregate: {twice} is the task of more than one directory; name one for each task")
    if len(tables) < 2:
        raise OptionError("--aggregate: one task alone is its own table; name the directories of two tasks or more")
    found = pd.concat(tables, ignore_index=True)
    scores = _of_shared_runs(found)
    if scores.empty:
        raise OptionError(f"--aggregate: no run is in all of {', '.join(map(str, directories))}")
    readings = scores.groupby("rule")[["run", "task"]].apply(lambda rows: len(rows.drop_duplicates()))
    scores = scores[scores["rule"].map(readings) == scores["run"].nunique() * len(tasks)].reset_index(drop=True)
    for key in (["label", "view"], ["rule"]):
        _say_what_is_lost(found[key], scores[key])
    _say_what_differs(scores, [_settings(directory) for directory in directories])
    return scores


def _say_what_is_lost(found: pd.DataFrame, kept: pd.DataFrame) -> None:
    lost = set(found.itertuples(index=False, name=None)) - set(kept.itertuples(index=False, name=None))
    if lost:
        print(f"not of every task, left out: {', '.join(sorted(map(' '.join, lost)))}", file=sys.stderr)


def _say_what_differs(scores: pd.DataFrame, settings: Sequence[dict[str, dict[str, str]]]) -> None:
    """A label makes runs the same by name alone; and a seed that one run has and another has not pairs nothing."""
    labels_of: dict[tuple[str, ...], list[str]] = {}
    for label in scores["label"].unique():
        of_tasks = [by_label[label] for by_label in settings]
        keys = sorted(set().union(*of_tasks))
        differ = tuple(key for key in keys if len({made.get(key) for made in of_tasks}) > 1)
        labels_of.setdefault(differ, []).append(label)
    for differ, labels in labels_of.items():
        if differ:
            print(f"{', '.join(labels)}: not the same on every task in {', '.join(differ)}", file=sys.stderr)
    for task, of_task in scores.groupby("task", sort=False):
        seeds = [set(rows["seed"]) for _, rows in of_task.groupby("run")]
        if any(one != seeds[0] for one in seeds):
            print(f"{task}: runs have other seeds than each other; differences are over those of both", file=sys.stderr)


def _settings(directory: Path) -> dict[str, dict[str, str]]:
    """Label -> what the run was made with."""
    configs = map(results.read_config, results.run_directories(directory))
    return {config["label"]: results.settings(config) for config in configs}


def _of_shared_runs(scores: pd.DataFrame) -> pd.DataFrame:
    """What all tasks have, with `run`: its label, and the way it acts where a label shares several or is not alone."""
    tasks, shared = scores["task"].nunique(), []
    for label, rows in scores.groupby("label", sort=False):
        views = [set(of_task["view"]) for _, of_task in rows.groupby("task")]
        common = set.intersection(*views)
        if len(views) < tasks:
            continue
        if all(len(of_task) == 1 for of_task in views):
            shared.append(rows.assign(run=label))
        else:
            rows = rows[rows["view"].isin(common)]
            shared.append(rows.assign(run=rows["label"] + (" " + rows["view"] if len(common) > 1 else "")))
    return pd.concat(shared) if shared else scores[:0].assign(run="")


def _read_one(directory: Path) -> pd.DataFrame:
    try:
        runs = {run: results.read_config(run) for run in results.run_directories(directory)}
        task, unfinished = next(iter(runs.values()))["task"], [run.name for run in runs if runs[run]["interrupted"]]
        for run, record in runs.items():
            say_missing(run, record)
        metrics = statistics.final(results.load_metrics(directory))
        chosen = protocols.by_protocol(directory).rename(columns={"protocol": "rule"})
    except OptionError as error:
        raise OptionError(f"--aggregate: {error}") from None
    except (*UNREADABLE, StopIteration):
        raise results.not_of_runs("--aggregate", directory) from None
    if unfinished:
        names = ", ".join(unfinished)
        raise OptionError(f"--aggregate: {directory}: {names} was interrupted; let it go on to its end")
    last = metrics[metrics["metric"] == protocols.SCORE].assign(rule=LAST)
    if last.empty:
        raise OptionError(f"--aggregate: {task} ({directory}) has no normalised score to share with others")
    rows = pd.concat([last, chosen[chosen["rule"] != LAST]])
    sampled = (" @ " + rows["sampler"]).where(rows["sampler"] != AS_TRAINED, "")
    return rows.assign(task=task, view=rows["selection"] + sampled)[["label", "view", "task", "rule", "seed", "value"]]


def headline(scores: pd.DataFrame) -> str:
    """The rule that tells most: a mean of ten evaluations where there is one."""
    return next((rule for rule in scores["rule"] if rule != LAST), LAST)


def carry_out(directories: Sequence[Path], out: Path) -> Shown:
    """Read, summarise, draw and write into the new directory `out`; returns the table."""
    scores = read(directories)
    claim(out)
    aggregate, shares = aggregates.summarise(scores), aggregates.profiles(scores)
    rule = headline(scores)
    with new_directory(out) as partial:
        for name, rows in (("scores", scores), ("aggregate", aggregate), ("profiles", shares)):
            rows.to_csv(partial / f"{name}.csv", index=False)
        figure = partial / "figure.png"
        failed = attempt(lambda: draw_profiles(aggregate, shares, rule, figure), out / figure.name)
    text = table_over_tasks(aggregate, list(dict.fromkeys([rule, LAST])))
    gone = _diverged(directories)
    said = [f"{len(directories)} tasks: value (95% interval over seeds)", text, *(["\n".join(gone)] * bool(gone))]
    return Shown("\n\n".join(said), (failed,) if failed else ())


def _diverged(directories: Sequence[Path]) -> list[str]:
    """A line for each run of which seeds have no result."""
    records = [results.read_config(run) for directory in directories for run in results.run_directories(directory)]
    return [
        f"{record['label']} on {record['task']}: {len(record['diverged'])} of {len(record['seeds'])} seeds diverged, "
        "the scores are of the others"
        for record in records
        if record.get("diverged")
    ]
