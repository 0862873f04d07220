"""What steps, schedules, targets and samplers do to a policy that denoises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns

from ablations.analysis import statistics
from ablations.analysis.statistics import format_interval
from ablations.figures.drawing import grid, lines, save, ticks
from ablations.record.results import read_config, run_directories


def draw_denoising(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Quality against network passes for each sampler, against T for each schedule, and for schedule x target."""
    rows = _with_choices(directory, statistics.final(summary))
    figure, (energy, modes, steps, heat) = grid(4, height=3.4, share=False)
    resampled = rows[rows["views"] > 1]
    for axis, metric in ((energy, "energy_distance"), (modes, "on_mode")):
        shown = resampled[resampled["metric"] == metric]
        lines(axis, shown, x="forwards", by="sampler_name", legend=False, log=axis is energy)
        axis.set(xscale="log", xlabel="network passes for an action", title=metric.replace("_", " "))
        ticks(axis, [2, 5, 10, 20, 50])
    modes.legend(frameon=False, fontsize=8, loc="upper left")
    trained = rows[(rows["metric"] == "energy_distance") & (rows["sampler"] == "as trained") & rows["T"].notna()]
    lines(steps, trained[trained["target"] == "epsilon"], x="T", by="schedule", log=True)
    steps.set(xscale="log", xlabel="T, trained and sampled", title="energy distance")
    ticks(steps, [5, 10, 20, 50])
    at_20 = trained[trained["T"] == 20]
    if at_20.empty:
        heat.set_visible(False)
        return save(figure, path)
    text = at_20.assign(text=list(map(format_interval, at_20["mean"], at_20["low"])))
    table = at_20.pivot(index="schedule", columns="target", values="mean")
    labels = text.pivot(index="schedule", columns="target", values="text").map(lambda cell: cell.replace(" ± ", "\n± "))
    sns.heatmap(np.log10(table), annot=labels, fmt="", ax=heat, cmap="rocket", cbar=False, annot_kws={"fontsize": 8})
    heat.set(title="energy distance at T = 20", xlabel="target\n(x0, v: min-SNR weights)", ylabel="")
    save(figure, path)


def _with_choices(directory: Path, final: pd.DataFrame) -> pd.DataFrame:
    """Rows with what their run chose (T, schedule, target), the view's sampler and its passes of the network."""
    columns = []
    for run in run_directories(directory):
        config = read_config(run)
        policy = config["options"]["policy"]
        for view in config["views"]:
            sampled = view["policy"] or policy
            columns.append(
                {
                    "label": config["label"],
                    "sampler": view["sampler_label"],
                    "forwards": view["forwards"],
                    "sampler_name": sampled["sampler"],
                    "views": len(config["views"]),
                    **{name: policy.get(name) for name in ("T", "schedule", "target")},
                }
            )
    return final.merge(pd.DataFrame(columns), on=["label", "sampler"])
