"""What a number does: metrics against an option that the runs of a comparison differ by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ablations.analysis import statistics
from ablations.figures.drawing import HEADLINE, colors_of, grid, legend_above, save, ticks
from ablations.record.results import read_config, run_directories, swept
from core.options import label_of


def draw_sweep(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Each headline metric against the number swept: mean and 95% interval, one line for what else differs.

    Runs without that option are level, dashed. On the bandit the last panel sets reward against what it costs: the
    distance to the data.
    """
    option = swept(directory)
    assert option is not None
    values = {config["label"]: config["varied"].get(option) for config in map(read_config, run_directories(directory))}
    rows = statistics.final(summary)
    rows = rows.assign(
        at=rows["label"].map(values),
        line=[
            row.run.replace(label_of(option, values[row.label]), "", 1) if values[row.label] is not None else row.run
            for row in rows.itertuples(index=False)
        ],
    )
    palette = colors_of(rows["line"])
    metrics = [name for name in HEADLINE if name in set(rows["metric"])] or list(dict.fromkeys(rows["metric"]))[:4]
    trade_off = "energy_distance" in metrics and "reward" in metrics
    figure, axes = grid(len(metrics) + trade_off, height=3.2, share=False)
    for axis, metric in zip(axes, metrics, strict=False):
        for name, group in rows[rows["metric"] == metric].groupby("line", sort=False):
            _swept_line(axis, group.sort_values("at"), palette[name], name)
        axis.set(xlabel=option.replace("_", "-"), title=HEADLINE.get(metric, metric.replace("_", " ")))
        if metric == "energy_distance":
            axis.set_yscale("log")
        _log_where_wide(axis, rows["at"].dropna())
        sns.despine(ax=axis)
    if trade_off:
        for name, group in rows.groupby("line", sort=False):
            wide = group.pivot(index="at", columns="metric", values="mean").sort_index()
            axes[-1].plot(wide["energy_distance"], wide["reward"], "o-", color=palette[name], markersize=3)
        axes[-1].set(xscale="log", xlabel=HEADLINE["energy_distance"], title=HEADLINE["reward"])
        sns.despine(ax=axes[-1])
    legend_above(figure, axes[0])
    save(figure, path)


def _swept_line(axis: Axes, line: pd.DataFrame, color: Any, name: str) -> None:
    if line["at"].isna().all():
        axis.axhline(line["mean"].iloc[0], color=color, linestyle="--", label=name)
        axis.axhspan(line["low"].iloc[0], line["high"].iloc[0], color=color, alpha=0.1, linewidth=0)
        return
    axis.plot(line["at"], line["mean"], "o-", color=color, markersize=3, label=name)
    axis.fill_between(line["at"], line["low"], line["high"], color=color, alpha=0.2, linewidth=0)


def _log_where_wide(axis: Axes, values: pd.Series) -> None:
    """A logarithmic x-axis with these values alone on it, where they are positive and span more than a factor of 4."""
    if values.min() <= 0 or values.max() <= 4 * values.min():
        return
    axis.set_xscale("log")
    ticks(axis, sorted(set(values)))
