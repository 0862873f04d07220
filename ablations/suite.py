"""The same runs on several tasks, read together: directories that are there already, one for each task.

Writes `scores.csv` (tidy: run, task, rule, view, seed, value), `aggregate.csv` (each statistic of each run, and
against each run before it), `profiles.csv` (the share of scores above each value) and `figure.png`.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ablations import aggregates, protocols, results, statistics
from ablations.figures.profiles import draw_profiles
from ablations.table import MARK
from ablations.views import AS_TRAINED
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
    return scores


def _say_what_is_lost(found: pd.DataFrame, kept: pd.DataFrame) -> None:
    lost = set(found.itertuples(index=False, name=None)) - set(kept.itertuples(index=False, name=None))
    if lost:
        print(f"not of every task, left out: {', '.join(sorted(map(' '.join, lost)))}", file=sys.stderr)


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
        runs = {run.name: results.read_config(run) for run in results.run_directories(directory)}
        task, unfinished = next(iter(runs.values()))["task"], [name for name in runs if runs[name]["interrupted"]]
        metrics = statistics.final(results.load_metrics(directory))
        chosen = protocols.by_protocol(directory).rename(columns={"protocol": "rule"})
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        raise OptionError(f"--aggregate: {directory} is not the directory of a run or comparison") from None
    if unfinished:
        names = ", ".join(unfinished)
        raise OptionError(f"--aggregate: {directory}: {names} was interrupted; let it go on to its end")
    last = metrics[metrics["metric"] == protocols.SCORE].assign(rule=LAST)
    if last.empty:
        raise OptionError(f"--aggregate: {task} ({directory}) has no normalised score to share with others")
    rows = pd.concat([last, chosen[chosen["rule"] != LAST]])
    sampled = (" @ " + rows["sampler"]).where(rows["sampler"] != AS_TRAINED, "")
    return rows.assign(task=task, view=rows["selection"] + sampled)[["label", "view", "task", "rule", "seed", "value"]]


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of rule, run, versus ("" for none), statistic, value, low, high, tasks.

    Against the runs before it: each statistic's difference, over the seeds that both have, and the probability of
    improvement.
    """
    rows = []
    for rule, read_so in scores.groupby("rule", sort=False):
        by_run = {run: group for run, group in read_so.groupby("run", sort=False)}
        for run, group in by_run.items():
            for name, statistic in aggregates.STATISTICS.items():
                rows.append((rule, run, "", name, aggregates.bootstrap(statistic, strata(group))))
        for (versus, before), (run, group) in itertools.combinations(by_run.items(), 2):
            one, other = strata(group), strata(before)
            improves = aggregates.probability_of_improvement(one, other)
            rows.append((rule, run, versus, "probability of improvement", improves))
            paired = _paired(group, before)
            if paired is None:
                continue
            for name, statistic in aggregates.STATISTICS.items():
                rows.append((rule, run, versus, name, aggregates.difference(statistic, *paired)))
    columns = ["rule", "run", "versus", "statistic", "value", "low", "high"]
    frame = pd.DataFrame([(*keys, *interval) for *keys, interval in rows], columns=columns)
    return frame.assign(tasks=scores["task"].nunique())


def profiles(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of rule, run, score, share, low, high: the share of seeds and tasks above each of a row of scores."""
    at = np.linspace(min(0.0, scores["value"].min()), max(aggregates.SOLVED, scores["value"].max()), 41)
    tables = []
    for (rule, run), group in scores.groupby(["rule", "run"], sort=False):
        share, low, high = aggregates.performance_profile(at, strata(group))
        tables.append(pd.DataFrame({"rule": rule, "run": run, "score": at, "share": share, "low": low, "high": high}))
    return pd.concat(tables, ignore_index=True)


def strata(scores: pd.DataFrame) -> list[np.ndarray]:
    """The scores of one run by one rule: an array of seeds for each task, in the order of the tasks' names."""
    return [group["value"].to_numpy(float) for _, group in scores.groupby("task")]


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Both over the seeds they share, in the same order; None where a task has none."""
    both = one.merge(other, on=["task", "seed"], suffixes=("_one", "_other"))
    if both["task"].nunique() < one["task"].nunique():
        return None
    paired = [group[["value_one", "value_other"]].to_numpy(float).T for _, group in both.groupby("task")]
    return [x for x, _ in paired], [y for _, y in paired]


def headline(scores: pd.DataFrame) -> str:
    """The rule that tells most: a mean of ten evaluations where there is one."""
    return next((rule for rule in scores["rule"] if rule != LAST), LAST)


def table(aggregate: pd.DataFrame, rules: Sequence[str]) -> str:
    """For each rule runs down and statistics across, with 95% intervals; marks what differs from the first run."""
    parts = []
    for rule in rules:
        rows = aggregate[aggregate["rule"] == rule]
        runs = list(dict.fromkeys(rows["run"]))
        against = rows[rows["versus"] == runs[0]].set_index(["run", "statistic"])
        texts = {
            (row.run, row.statistic): _cell(row, against) for row in rows[rows["versus"] == ""].itertuples(index=False)
        }
        better = f"P(above {runs[0]})"
        for run in runs[1:]:
            chance = against.loc[(run, "probability of improvement")]
            texts[run, better] = _with_interval(chance["value"], chance["low"], chance["high"], 2)
        wide = pd.Series(texts).unstack().reindex(runs)
        wide = wide[[*aggregates.STATISTICS, *([better] if len(runs) > 1 else [])]].fillna("")
        parts.append(f"score, {rule}\n{wide.rename_axis(index=None, columns=None).to_string()}")
    marked = f"{MARK.strip()} differs from the first run: the interval of the paired difference leaves out 0"
    return "\n\n".join([*parts, *([marked] if any(MARK in part for part in parts) else [])])


def _cell(row, against: pd.DataFrame) -> str:
    text = _with_interval(row.value, row.low, row.high, 1)
    if (row.run, row.statistic) not in against.index:
        return text + " " * len(MARK)
    gap = against.loc[(row.run, row.statistic)]
    return text + (MARK if gap["low"] > 0 or gap["high"] < 0 else " " * len(MARK))


def _with_interval(value: float, low: float, high: float, digits: int) -> str:
    """The value alone where there is no interval. An interval clipped to [0, 1] is not the same on both sides."""
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def carry_out(directories: Sequence[Path], out: Path) -> str:
    """Read, summarise, draw and write into the new directory `out`; returns the table."""
    scores = read(directories)
    results.claim(out)
    aggregate, shares = summarise(scores), profiles(scores)
    rule = headline(scores)
    with results.new_directory(out) as partial:
        for name, rows in (("scores", scores), ("aggregate", aggregate), ("profiles", shares)):
            rows.to_csv(partial / f"{name}.csv", index=False)
        draw_profiles(aggregate, shares, rule, partial / "figure.png")
    return table(aggregate, list(dict.fromkeys([rule, LAST])))
