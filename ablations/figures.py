"""Figures and tables, made from run directories alone. The only file that imports seaborn."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ablations.results import label, run_directories

#: metrics written under each panel, with the digits worth reading
CAPTION = {"energy_distance": 4, "on_mode": 3, "best_mode": 3, "out_of_bounds": 3}
LIMIT = 1.6


def format_interval(mean: float, low: float, digits: int = 4) -> str:
    """`0.993 +- 0.002`: the mean and half the interval's width; the mean alone where there is no interval."""
    if np.isnan(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {mean - low:.{digits}f}"


def table(summary: pd.DataFrame, reference: dict[str, float]) -> str:
    """Metrics down, runs across, mean and 95% interval over seeds; a column for fresh data where it is known."""
    cells = summary.assign(text=[format_interval(r.mean, r.low) for r in summary.itertuples(index=False)])
    wide = cells.pivot(index="metric", columns="run", values="text")
    wide = wide.loc[list(dict.fromkeys(summary["metric"])), list(dict.fromkeys(summary["run"]))]
    if reference:
        wide["fresh data"] = [f"{reference[metric]:.4f}" for metric in wide.index]
    return wide.rename_axis(index="metric", columns=None).to_string()


def draw_samples(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """One panel for the data and one for each run: samples of all its seeds over the data."""
    runs = run_directories(directory)
    sns.set_theme(style="ticks", context="paper", font_scale=1.1)
    figure, axes = plt.subplots(1, len(runs) + 1, figsize=(3.1 * (len(runs) + 1), 4.4), layout="constrained")
    with np.load(runs[0] / "samples.npz") as stored:
        data = stored["reference_actions"][0]
    palette = sns.color_palette("deep")
    _scatter(axes[0], data, palette[7], "data\n", "")
    for axis, run, color in zip(axes[1:], runs, palette, strict=False):
        with np.load(run / "samples.npz") as stored:
            actions = stored["actions"]
        _scatter(axis, data, "0.85", None, "")
        seeds = len(actions)
        thinned = actions[:, : max(1, 2000 // seeds)].reshape(-1, 2)
        names = json.loads((run / "config.json").read_text())["names"]
        trained = "behaviour cloning" if names["improvement"] == "none" else names["improvement"]
        plural = "s" if seeds > 1 else ""
        _scatter(
            axis, thinned, color, f"{names['policy']}, {trained}\n{seeds} seed{plural}", _caption(summary, label(run))
        )
    axes[0].set_ylabel("action 2")
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def _scatter(axis: Axes, points: np.ndarray, color, title: str | None, caption: str) -> None:
    beyond = int((np.abs(points) > LIMIT).any(-1).sum())
    sns.scatterplot(x=points[:, 0], y=points[:, 1], s=6, color=color, linewidth=0, alpha=0.5, ax=axis, rasterized=True)
    axis.plot([-1, 1, 1, -1, -1], [-1, -1, 1, 1, -1], color="0.4", linewidth=0.8, linestyle=":")
    axis.set(xlim=(-LIMIT, LIMIT), ylim=(-LIMIT, LIMIT), aspect="equal", xlabel="action 1", ylabel="")
    axis.set_xticks([-1, 0, 1])
    axis.set_yticks([-1, 0, 1])
    if title is not None:
        axis.set_title(title, fontsize=10)
    if beyond:
        caption += f"\n({beyond / len(points):.0%} of samples beyond the frame)"
    axis.set_xlabel(f"action 1\n{caption}", fontsize=9)
    sns.despine(ax=axis)


def _caption(summary: pd.DataFrame, run: str) -> str:
    rows = summary[summary["run"] == run].set_index("metric")
    return "\n".join(
        f"{metric.replace('_', ' ')} {format_interval(rows.loc[metric, 'mean'], rows.loc[metric, 'low'], digits)}"
        for metric, digits in CAPTION.items()
        if metric in rows.index
    )
