"""A table of runs for a paper or a page: runs down, metrics across, as CSV, Markdown or LaTeX (booktabs).

Cells hold the mean over seeds and half of its 95% interval. The best of a column is bold only where the 95% interval
of its difference to each other run, paired by seed, leaves out 0, and where the metric has a better end. Tables to be
read have the most telling metrics, unless all are asked for; CSV always has all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ablations.analysis import statistics
from ablations.analysis.metrics import better, directed, headline
from ablations.record import results

#: significant digits of half an interval; the mean has as many places behind the point
DIGITS = 2
#: towards the better values, by `better`
ARROWS = ("", r" $\uparrow$", r" $\downarrow$")


def cells(directory: Path, bold: Callable[[str], str], plus_minus: str, every: bool) -> pd.DataFrame:
    """Texts, a run a row and a metric a column, of the last evaluation of each run of a comparison.

    `every`: of all metrics, not of the most telling alone.
    """
    metrics = statistics.final(results.load_metrics(directory))
    if not every:
        metrics = metrics[metrics["metric"].isin(headline(metrics["metric"]))]
    summary = statistics.summarise(metrics, ("run", "metric"))
    best = {(metric, _best(metric, rows, metrics)) for metric, rows in summary.groupby("metric", sort=False)}
    texts = {
        (row.run, row.metric): bold(text) if (row.metric, row.run) in best else text
        for row in summary.itertuples(index=False)
        for text in [_cell(row.mean, row.low, plus_minus)]
    }
    order = {key: list(dict.fromkeys(summary[key])) for key in ("run", "metric")}
    wide = pd.Series(texts).unstack().reindex(index=order["run"], columns=order["metric"])
    return wide.fillna("-").rename_axis(index=None, columns=None)


def _best(metric: str, rows: pd.DataFrame, metrics: pd.DataFrame) -> str | None:
    """The run that is better than each other one by more than chance; None where there is none."""
    sign = better(metric)
    if not sign or len(rows) < 2:
        return None
    run = rows.loc[(sign * rows["mean"]).idxmax(), "run"]
    values = metrics[metrics["metric"] == metric]
    gaps = statistics.paired_differences(values)
    if gaps.empty:
        return None
    own = gaps[(gaps["run"] == run) | (gaps["versus"] == run)]
    apart = (own["low"] > 0) | (own["high"] < 0)
    return run if len(own) == len(rows) - 1 and apart.all() else None


def _cell(mean: float, low: float, plus_minus: str) -> str:
    half = mean - low
    if not half > 0:
        return f"{mean:.4g}"
    places = max(0, DIGITS - 1 - int(f"{half:e}".partition("e")[2]))
    return f"{mean:.{places}f} {plus_minus} {half:.{places}f}"


def as_csv(directory: Path, every: bool = True) -> str:
    """Numbers, a row for each run and metric: mean, low, high, seeds."""
    metrics = statistics.final(results.load_metrics(directory))
    return statistics.summarise(metrics).to_csv(index=False)


def as_markdown(directory: Path, every: bool = False) -> str:
    """A table of pipes."""
    wide = cells(directory, lambda text: f"**{text}**", "±", every)
    rows = [["", *(_words(directed(metric)) for metric in wide.columns)], ["---"] + ["---:"] * wide.shape[1]]
    rows += [[str(run).replace("|", r"\|"), *texts] for run, texts in zip(wide.index, wide.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def as_latex(directory: Path, every: bool = False) -> str:
    """A tabular with the rules of booktabs, to be put into a table: `\\usepackage{booktabs}`."""
    wide = cells(directory, lambda text: rf"\boldmath{text}", r"\pm", every)
    named = [_escaped(_words(metric)) + ARROWS[better(metric)] for metric in wide.columns]
    head = " & ".join(["", *named])
    body = [[_escaped(str(run)), *map(_math, texts)] for run, texts in zip(wide.index, wide.to_numpy(), strict=True)]
    lines = [rf"\begin{{tabular}}{{l{'r' * wide.shape[1]}}}", r"\toprule", rf"{head} \\", r"\midrule"]
    lines += [rf"{' & '.join(row)} \\" for row in body]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _math(text: str) -> str:
    bold, number = text.startswith(r"\boldmath"), text.removeprefix(r"\boldmath")
    return number if number == "-" else rf"{{\boldmath${number}$}}" if bold else f"${number}$"


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _escaped(text: str) -> str:
    return re.sub(r"([&%$#_{}])", r"\\\1", text).replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")


FORMATS: dict[str, Callable[[Path, bool], str]] = {"csv": as_csv, "md": as_markdown, "latex": as_latex}
#: ending of a table's file
ENDINGS = {"csv": "csv", "md": "md", "latex": "tex"}


def write(directory: Path, formats: Sequence[str], out: Path, every: bool) -> list[Path]:
    """Write `table.csv`, `table.md`, `table.tex` into a directory; returns which. `every`: as of `cells`."""
    places = []
    for one in formats:
        place = out / f"table.{ENDINGS[one]}"
        place.write_text(FORMATS[one](directory, every), encoding="utf-8")
        places.append(place)
    return places
