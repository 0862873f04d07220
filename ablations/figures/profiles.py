"""Runs over several tasks: aggregate scores, and the share of seeds and tasks that score above each value."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns

from ablations.figures.drawing import colors_of, grid, legend_above, save

#: the statistics that have a panel
SHOWN = ("interquartile mean", "mean", "optimality gap")


def draw_profiles(aggregate: pd.DataFrame, profiles: pd.DataFrame, rule: str, path: Path) -> None:
    """Of scores read by one rule: aggregates with their 95% intervals, and the performance profile with its band."""
    alone = aggregate[(aggregate["versus"] == "") & (aggregate["rule"] == rule)]
    runs = list(dict.fromkeys(alone["run"]))
    palette = colors_of(runs)
    figure, axes = grid(len(SHOWN) + 1, height=0.25 * len(runs) + 2.6, share=False)
    for axis, statistic in zip(axes, SHOWN, strict=False):
        for height, row in enumerate(alone[alone["statistic"] == statistic].itertuples(index=False)):
            axis.hlines(height, row.low, row.high, color=palette[row.run], linewidth=6, alpha=0.4)
            axis.plot(row.value, height, "|", color=palette[row.run], markersize=14)
        axis.set(
            xlabel=f"{statistic}\nof the score, {rule}",
            yticks=range(len(runs)),
            yticklabels=runs if axis is axes[0] else [],
        )
        axis.set_ylim(len(runs) - 0.5, -0.5)
        sns.despine(ax=axis)
    for run, line in profiles[profiles["rule"] == rule].groupby("run", sort=False):
        axes[-1].plot(line["score"], line["share"], color=palette[run], label=run)
        axes[-1].fill_between(line["score"], line["low"], line["high"], color=palette[run], alpha=0.2, linewidth=0)
    axes[-1].set(xlabel=f"score, {rule}", ylabel="share above", ylim=(-0.02, 1.02))
    sns.despine(ax=axes[-1])
    legend_above(figure, axes[-1])
    save(figure, path)
