"""The tables, as text: of a run or a comparison, and of runs over several tasks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from ablations.analysis.aggregates import STATISTICS
from ablations.analysis.metrics import directed, headline
from ablations.analysis.significance import detectable, significant
from ablations.analysis.statistics import format_interval

#: of what differs from the first run
MARK = " *"
#: characters of a line, at most
WIDTH = 100
#: of a run's name, before it is continued on the next line
NAME = 40
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
    summary: pd.DataFrame,
    reference: dict[str, float],
    differences: pd.DataFrame,
    runs: Sequence[str] = (),
    all_metrics: bool = False,
) -> str:
    """Mean and 95% interval over seeds of each run, and of fresh data where it is known, 100 characters wide at most.

    The three metrics that matter, unless `all_metrics`, with an arrow towards the better values. Metrics go down where
    all runs fit beside one another, and runs do otherwise. Significant differences from the first run are marked.
    `runs`: all of them in their order, those too of which no seed has a result; by default those of `summary`.
    """
    runs = list(runs or dict.fromkeys(summary["run"]))
    if summary.empty:
        return "\n".join([*runs, "", DIVERGED])
    telling = significant(differences, runs[0])
    text = [
        format_interval(row.mean, row.low) + (MARK if (row.run, row.metric) in telling else " " * len(MARK))
        for row in summary.itertuples(index=False)
    ]
    wide = summary.assign(text=text).pivot(index="metric", columns="run", values="text")
    wide = wide.reindex(index=list(dict.fromkeys(summary["metric"])), columns=runs).astype(object).fillna("-")
    if reference:
        wide["fresh data"] = [f"{reference[metric]:.4f}" if metric in reference else "-" for metric in wide.index]
    shown = wide if all_metrics else wide.loc[headline(wide.index)]
    read = _fitted(shown.rename(index=directed))
    seen = {metric for _, metric in telling} & set(shown.index)
    notes = _of_differences(differences, runs[0], bool(seen)) + [DIVERGED] * any(
        "seeds diverged)" in run for run in runs
    )
    if len(shown) < len(wide):
        notes.append(f"{len(wide) - len(shown)} more metrics: --all-metrics, and the CSV files")
    return "\n\n".join([read, "\n".join(notes)] if notes else [read])


def _of_differences(differences: pd.DataFrame, first: str, marked: bool) -> list[str]:
    """What the mark says, and how small a difference from the first run may go unseen."""
    if differences.empty or first not in set(differences["versus"]):
        return []
    seeds = int(differences.loc[differences["versus"] == first, "seeds"].min())
    means = f"{MARK.strip()} differs significantly from {first}: paired t-test, 5% for all runs of a metric (Holm)"
    small = f"{seeds} seeds: a difference below {detectable(seeds):.1f} deviations of the paired ones is often missed"
    return [*[means] * marked, small]


def _fitted(wide: pd.DataFrame) -> str:
    """Texts, metrics down and runs across; where that is too wide runs down, and metrics in one block below another."""
    down = wide.rename_axis(index=None, columns=None).to_string()
    if max(map(len, down.splitlines())) <= WIDTH:
        return down
    return _blocks(wide.T)


def _blocks(rows: pd.DataFrame) -> str:
    """Texts, runs down and metrics across, as many beside one another as fit. Long names go on below their row."""
    names = [textwrap.wrap(name, NAME, subsequent_indent="  ") for name in rows.index]
    side = max(len(part) for name in names for part in name)
    headings = [textwrap.wrap(metric, NAME, subsequent_indent="  ") for metric in rows]
    above = max(map(len, headings))
    blocks: list[list[list[str]]] = [[]]
    left = WIDTH - side
    for heading, metric in zip(headings, rows, strict=True):
        cells = [""] * (above - len(heading)) + heading + list(rows[metric])
        cells = [cell.rjust(max(map(len, cells)) + 2) for cell in cells]
        if blocks[-1] and len(cells[0]) > left:
            blocks.append([])
            left = WIDTH - side
        blocks[-1].append(cells)
        left -= len(cells[0])
    names = [[""]] * above + names
    return "\n\n".join("\n".join(_lines(names, columns, side)) for columns in blocks)


def _lines(names: Sequence[Sequence[str]], columns: Sequence[Sequence[str]], side: int) -> Iterator[str]:
    """A block's headings, and the line or lines of each run."""
    for name, *cells in zip(names, *columns, strict=True):
        yield (name[0].ljust(side) + "".join(cells)).rstrip()
        yield from name[1:]


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
        parts.append(f"score, {rule}\n{_blocks(wide.astype(str))}")
    return "\n\n".join([*parts, *([_explained(first)] if any(MARK in part for part in parts) else [])])


def _explained(first: str) -> str:
    return (
        f"{MARK.strip()} differs significantly from {first}: the difference's 95% interval, paired by seed, excludes 0"
    )


def _cell(row, against: pd.DataFrame) -> str:
    text = _with_interval(row.value, row.low, row.high, 1)
    if (row.run, row.statistic) not in against.index:
        return text + " " * len(MARK)
    gap = against.loc[(row.run, row.statistic)]
    return text + (MARK if gap["low"] > 0 or gap["high"] < 0 else " " * len(MARK))


def _with_interval(value: float, low: float, high: float, digits: int) -> str:
    """The value alone where there is no interval. An interval clipped to [0, 1] is not the same on both sides."""
    return f"{value:.{digits}f}" + ("" if np.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")
