"""The tables, as text: of a run or a comparison, and of runs over several tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ablations.analysis.aggregates import STATISTICS
from ablations.analysis.statistics import format_interval

#: of what differs from the first run
MARK = " *"
#: more runs than this make a table that is read by rows
MOST_COLUMNS = 5
#: under a table of runs of which a seed has no result
DIVERGED = "seeds that diverged have no result: means and intervals are over the others"


def heading(task: str, *seeds: int) -> str:
    """What the numbers of `table` are; `seeds`: how many the runs have."""
    fewest, most = min(seeds), max(seeds)
    if most == 1:
        return f"{task}: one seed, no interval"
    count = f"{most}" if fewest == most else f"{fewest} to {most}"
    return f"{task}: mean ± half of the 95% interval over {count} seeds"


def table(
    summary: pd.DataFrame, reference: dict[str, float], differences: pd.DataFrame, runs: Sequence[str] = ()
) -> str:
    """Metrics down, runs across, mean and 95% interval over seeds; a column for fresh data where it is known.

    Many runs go down instead, and metrics across. What differs from the first run by more than chance is marked.
    `runs`: all of them in their order, those too of which no seed has a result; by default those of `summary`.
    """
    runs = list(runs or dict.fromkeys(summary["run"]))
    if summary.empty:
        return "\n".join([*runs, "", DIVERGED])
    telling = {
        (row.run, row.metric)
        for row in differences.itertuples(index=False)
        if row.versus == runs[0] and not row.low <= 0 <= row.high
    }
    text = [
        format_interval(row.mean, row.low) + (MARK if (row.run, row.metric) in telling else " " * len(MARK))
        for row in summary.itertuples(index=False)
    ]
    wide = summary.assign(text=text).pivot(index="metric", columns="run", values="text")
    wide = wide.reindex(index=list(dict.fromkeys(summary["metric"])), columns=runs).astype(object).fillna("-")
    if reference:
        wide["fresh data"] = [f"{reference[metric]:.4f}" if metric in reference else "-" for metric in wide.index]
    wide = wide.rename_axis(index="metric", columns=None)
    read = (wide if wide.shape[1] <= MOST_COLUMNS else wide.T).to_string()
    notes = [_explained(runs[0])] * bool(telling) + [DIVERGED] * any("seeds diverged)" in run for run in runs)
    return "\n\n".join([read, "\n".join(notes)] if notes else [read])


def table_over_tasks(aggregate: pd.DataFrame, rules: Sequence[str]) -> str:
    """For each rule runs down and statistics across, with 95% intervals; marks what differs from the first run."""
    parts = []
    first = aggregate["run"].iloc[0]
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
        wide = wide[[*STATISTICS, *([better] if len(runs) > 1 else [])]].fillna("")
        parts.append(f"score, {rule}\n{wide.rename_axis(index=None, columns=None).to_string()}")
    return "\n\n".join([*parts, *([_explained(first)] if any(MARK in part for part in parts) else [])])


def _explained(first: str) -> str:
    return f"{MARK.strip()} differs from {first}: the 95% interval of the difference, paired by seed, leaves out 0"


def _cell(row, against: pd.DataFrame) -> str:
    text = _with_interval(row.value, row.low, row.high, 1)
    if (row.run, row.statistic) not in against.index:
        return text + " " * len(MARK)
    gap = against.loc[(row.run, row.statistic)]
    return text + (MARK if gap["low"] > 0 or gap["high"] < 0 else " " * len(MARK))


def _with_interval(value: float, low: float, high: float, digits: int) -> str:
    """The value alone where there is no interval. An interval clipped to [0, 1] is not the same on both sides."""
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")
