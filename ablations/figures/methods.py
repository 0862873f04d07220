"""Policy classes with and without Q beside the published methods."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns

from ablations.analysis import statistics
from ablations.figures.drawing import HEADLINE, colors_of, grid, legend_above, save
from ablations.record.results import load_metrics, read_config, run_directories


def draw_methods(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Each policy class under cloning and with Q on one line, published methods below: mean, 95% interval, seeds."""
    rows = statistics.final(summary)
    presets = {config["label"]: config["preset"] for config in map(read_config, run_directories(directory))}
    published = rows["label"].map(presets).notna()
    acting = (" " + rows["selection"]).where(~published & (rows["selection"] != "one"), "")
    rows = rows.assign(
        line=rows["label"].where(published, rows["policy"]) + acting,
        kind=np.select([published, rows["improvement"] == "none"], ["published method", "cloning alone"], "with Q"),
    )
    order = list(dict.fromkeys(rows["policy"].where(~published, rows["label"])))
    names = sorted(dict.fromkeys(rows["line"]), key=lambda line: order.index(line.partition(" ")[0]))
    figure, axes = grid(len(HEADLINE), height=0.28 * len(names) + 1.2)
    colors = colors_of(rows["kind"])
    shown_as = rows.drop_duplicates("run").set_index("run")[["line", "kind"]]
    seeds = statistics.final(load_metrics(directory)).join(shown_as, on="run")
    for axis, (metric, title) in zip(axes, HEADLINE.items(), strict=True):
        each = seeds[seeds["metric"] == metric]
        at = [names.index(line) for line in each["line"]]
        axis.scatter(each["value"], at, marker="|", s=50, c=list(each["kind"].map(colors)), linewidth=1)
        for kind, group in rows.groupby("kind", sort=False):
            shown = group[group["metric"] == metric]
            heights = [names.index(line) for line in shown["line"]]
            axis.hlines(heights, shown["low"], shown["high"], color=colors[kind])
            axis.plot(shown["mean"], heights, "o", color=colors[kind], label=kind)
        axis.set(xlabel=title, yticks=range(len(names)), yticklabels=names)
        axis.grid(axis="y", alpha=0.4)
        sns.despine(ax=axis)
    axes[0].set(xscale="log")
    axes[0].invert_yaxis()
    legend_above(figure, axes[0])
    save(figure, path)
