"""Reward against divergence from the behaviour, where both are known, beside the bound that no policy can pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ablations.analysis import statistics
from ablations.figures.drawing import colors_of, grid, legend_above, save
from ablations.record.results import load_samples, read_config, run_directories, swept
from core.options import label_of

#: (option, what a panel's title calls it): each value of these has a panel of its own
PANELS = {"task.reward": "reward", "critic.source": "critic"}
#: the bound is shown as far as this times the farthest policy, or to 99% of its reward
BEYOND = 1.15


def draw_frontier(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """One line for each method over the number swept, one panel for each reward and each source of Q.

    x: KL(policy || behaviour) on the cells of the square, y: expected reward, of means over seeds. Black: pi* of all
    strengths on the same cells, from the behaviour itself at the cross. A policy's sample of n actions in C cells has a
    divergence of about C / 2n more than the policy. Runs without the
    two metrics are left out.
    """
    records = {record["label"]: (record, run) for run in run_directories(directory) for record in [read_config(run)]}
    option, rows = swept(directory), statistics.final(summary)
    wide = rows.pivot_table(index=["run", "label"], columns="metric", values="mean", sort=False)
    wide = wide.dropna(subset=["kl", "reward"]).reset_index()
    of_run = [records[label][0] for label in wide["label"]]
    wide["at"] = [record["varied"].get(option) for record in of_run]
    wide["panel"] = [tuple(_value(record, key) for key in PANELS) for record in of_run]
    wide["line"] = [_line(run, record, option) for run, record in zip(wide["run"], of_run, strict=True)]
    colors = colors_of(wide["line"])
    panels = list(dict.fromkeys(wide["panel"]))
    figure, axes = grid(len(panels), height=3.6, share=False)
    for axis, panel in zip(axes, panels, strict=True):
        inside = wide[wide["panel"] == panel]
        _bound(axis, load_samples(records[inside["label"].iloc[0]][1]), inside)
        for name, line in inside.groupby("line", sort=False):
            ordered = line.sort_values("at")
            axis.plot(ordered["kl"], ordered["reward"], "o-", color=colors[name], markersize=3, label=name)
        named = [f"{what} {value}" for what, value in zip(PANELS.values(), panel, strict=True) if value is not None]
        axis.set(title=", ".join(named), xlabel="KL(policy || behaviour), nats")
        sns.despine(ax=axis)
    axes[0].set_ylabel("expected reward")
    legend_above(figure, axes[0])
    save(figure, path)


def _value(record: Mapping[str, Any], key: str) -> Any:
    part, _, name = key.partition(".")
    return record["options"].get(part, {}).get(name)


def _line(run: str, record: Mapping[str, Any], option: str | None) -> str:
    """The run's name without what the panel or the place on the line says."""
    for key in (option, *PANELS):
        if key is not None and key in record["varied"]:
            run = run.replace(label_of(key, record["varied"][key]), "", 1)
    return run


def _bound(axis: Axes, stored: Mapping[str, np.ndarray], inside: pd.DataFrame) -> None:
    kl, reward = stored.get("reference_frontier_kl"), stored.get("reference_frontier_reward")
    if kl is None or reward is None:
        return
    shown = kl <= max(BEYOND * inside["kl"].max(), float(kl[np.searchsorted(reward, 0.99 * reward.max())]))
    axis.plot(kl[shown], reward[shown], color="black", linewidth=1.5, label="bound: pi*")
    axis.plot(0, reward[0], "x", color="black", markersize=6)
