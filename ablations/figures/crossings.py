"""`local:fork`: where the points of each policy meet the first wall, and its holes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from ablations.analysis import statistics
from ablations.analysis.statistics import format_interval
from ablations.figures.drawing import GREY, colors_of, grid, save
from ablations.record.results import load_samples, names_of, read_config, run_directories

LIMIT = 1.1
LEGEND = "where they meet the first wall\nsolid: the nearest hole, the best"


def draw_crossings(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """One panel for the demonstrators and one for each run and view; an episode through a hole is drawn darker."""
    final = statistics.final(summary)
    panels = [
        (run, view, name) for run in run_directories(directory) for view, name in enumerate(names_of(read_config(run)))
    ]
    figure, axes = grid(len(panels) + 1, height=4.0)
    stored = {run: load_samples(run) for run, *_ in panels}
    first = stored[panels[0][0]]
    _panel(axes[0], first, first["reference_crossings"][0, :500], GREY, "demonstrators", LEGEND)
    colors = colors_of(final["run"])
    for axis, (run, view, name) in zip(axes[1:], panels, strict=True):
        rows = final[final["run"] == name].set_index("metric")
        points = stored[run].get(f"crossings_{view}", np.zeros((0, 0, 2))).reshape(-1, 2)
        said = [
            f"{metric.replace('_', ' ')} {format_interval(rows.loc[metric, 'mean'], rows.loc[metric, 'low'], digits)}"
            for metric, digits in (("score", 1), ("success", 2))
            if metric in rows.index
        ]
        _panel(axis, stored[run], points, colors.get(name, GREY), name, "\n".join(said))
    axes[0].set_ylabel("position 2")
    save(figure, path)


def _panel(axis: Axes, stored: dict[str, np.ndarray], points: np.ndarray, color: Any, title: str, caption: str) -> None:
    points = points[np.isfinite(points).all(-1)]
    holes, radius = stored["reference_holes"][0], stored["reference_radius"][0]
    for place, hole in enumerate(holes):
        # episodes begin nearest to the first one
        style = "-" if place == 0 else "--"
        axis.add_patch(Circle(hole, radius, fill=False, color="0.3", linewidth=1.2, linestyle=style))
    through = (np.linalg.norm(points[:, None] - holes, axis=-1) <= radius).any(-1)
    for chosen, alpha in ((~through, 0.25), (through, 0.7)):
        axis.scatter(points[chosen, 0], points[chosen, 1], s=6, color=color, linewidth=0, alpha=alpha, rasterized=True)
    axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", ylabel="")
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(f"position 1\n{caption}", fontsize=9)
    sns.despine(ax=axis)
