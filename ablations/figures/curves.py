"""Metrics against training steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.ticker import EngFormatter

from ablations.figures.drawing import colors_of, grid, legend_above, save
from ablations.record import results


def draw_curves(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Metrics that change (all, if none does) against training steps: the mean, thick, and each seed, thin.

    A cross marks the step at which a seed diverged.
    """
    metrics = results.load_metrics(directory)
    changes = metrics.groupby("metric", sort=False)["value"].nunique() > 1
    # the score is the return on another scale
    shown = [metric for metric in changes.index if changes[metric] and (metric, "score" in changes) != ("return", True)]
    shown = shown or list(changes.index)
    colors = colors_of(summary["run"])
    diverged = [
        (name, one["step"])
        for config in map(results.read_config, results.run_directories(directory))
        for name in results.names_of(config)
        for one in config.get("diverged", [])
        if name in colors
    ]
    figure, axes = grid(len(shown[:4]), height=3.2, share=False)
    for axis, metric in zip(axes, shown, strict=False):
        for (name, _), line in metrics[metrics["metric"] == metric].groupby(["run", "seed"], sort=False):
            axis.plot(line["step"], line["value"], color=colors[name], linewidth=0.7, alpha=0.5)
        for name, line in summary[summary["metric"] == metric].groupby("run", sort=False):
            axis.plot(line["step"], line["mean"], "o-", color=colors[name], linewidth=2.2, markersize=3, label=name)
        for name, step in diverged:
            # at the foot of the panel
            axis.plot(step, 0.03, "x", color=colors[name], transform=axis.get_xaxis_transform(), clip_on=False)
        sns.despine(ax=axis)
        axis.set(xlabel="training step", title=metric.replace("_", " "))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend_above(figure, axes[0])
    save(figure, path)
