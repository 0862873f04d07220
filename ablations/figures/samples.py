"""Samples of policies over the data they learned from; of actions of many dimensions the first two."""

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
from tasks.bandits import CENTRES, RADIUS

#: metrics written under each panel, with the digits worth reading
CAPTION = {"energy_distance": 4, "on_mode": 3, "best_mode": 3, "off_support": 3, "out_of_bounds": 3}
LIMIT = 1.6


def draw_samples(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """One panel for the data and one for each run and view: samples of all its seeds over the data."""
    final = statistics.final(summary)
    panels = [
        (run, view, name) for run in run_directories(directory) for view, name in enumerate(names_of(read_config(run)))
    ]
    figure, axes = grid(len(panels) + 1, height=4.4)
    stored = {run: load_samples(run) for run, *_ in panels}
    _scatter(axes[0], stored[panels[0][0]]["reference_actions"][0], [GREY], "data\n", "")
    colors = colors_of(final["run"])
    for axis, (run, view, name) in zip(axes[1:], panels, strict=True):
        # behaviours may differ from run to run
        _scatter(axis, stored[run]["reference_actions"][0], "0.85", f"{name}\nno samples", "")
        rows = final[final["run"] == name]
        if rows.empty:
            continue
        actions = stored[run][f"actions_{view}"]
        # seeds that diverged have none
        actions = actions[np.isfinite(actions).all((1, 2))]
        seeds = len(actions)
        thinned = actions[:, : max(1, 2000 // seeds)]
        shades = _shades(colors[name], *thinned.shape[:2])
        # no seed on top of another
        order = np.random.default_rng(0).permutation(len(shades))
        title = f"{name}\n{seeds} seeds, each its shade" if seeds > 1 else f"{name}\n1 seed"
        _scatter(axis, np.concatenate(thinned)[order], shades[order], title, _caption(rows))
        for centre in CENTRES.numpy() if read_config(run)["task"] == "bandit" else ():
            axis.add_patch(Circle(centre, RADIUS, fill=False, color="0.2", linewidth=0.6))
    axes[0].set_ylabel("action 2" if stored[panels[0][0]]["reference_actions"].shape[-1] > 1 else "share of samples")
    save(figure, path)


def _shades(color: Any, seeds: int, samples: int) -> np.ndarray:
    """A shade for each seed's samples, seed by seed, from dark to light around a colour `[seeds * samples, 3]`."""
    if seeds == 1:
        return np.tile(color, (samples, 1))
    dark, light = sns.set_hls_values(color, l=0.25), sns.set_hls_values(color, l=0.75)
    return np.linspace(dark, light, seeds).repeat(samples, 0)


def _scatter(axis: Axes, points: np.ndarray, color: Any, title: str | None, caption: str) -> None:
    if points.shape[1] == 1:
        # in order, from bottom to top
        points = np.stack([np.sort(points[:, 0]), np.linspace(-1, 1, len(points))], -1)
    points = points[:, :2]
    beyond = int((np.abs(points) > LIMIT).any(-1).sum())
    axis.scatter(points[:, 0], points[:, 1], s=4, c=color, linewidth=0, alpha=0.5, rasterized=True)
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


def _caption(final: pd.DataFrame) -> str:
    rows = final.set_index("metric")
    return "\n".join(
        f"{metric.replace('_', ' ')} {format_interval(rows.loc[metric, 'mean'], rows.loc[metric, 'low'], digits)}"
        for metric, digits in CAPTION.items()
        if metric in rows.index
    )
