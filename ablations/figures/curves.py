"""Metrics against training steps."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.ticker import EngFormatter

from ablations.figures.drawing import grid, legend_above, lines, save


def draw_curves(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Each headline metric against training steps: mean and 95% interval over seeds, one line a run."""
    shown = list(dict.fromkeys(summary["metric"]))[:4]
    figure, axes = grid(len(shown), height=3.2, share=False)
    for axis, metric in zip(axes, shown, strict=True):
        lines(axis, summary[summary["metric"] == metric], x="step", by="run", legend=False)
        axis.set(xlabel="training step", title=metric.replace("_", " "))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    legend_above(figure, axes[0])
    save(figure, path)
