"""Figures and tables, made from run directories alone. The only file that imports seaborn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from ablations import statistics
from ablations.results import read_config, run_directories

#: metrics written under each panel, with the digits worth reading
CAPTION = {"energy_distance": 4, "on_mode": 3, "best_mode": 3, "out_of_bounds": 3}
LIMIT = 1.6
#: what sets the methods apart on the bandit
HEADLINE = {
    "energy_distance": "energy distance to the data",
    "best_mode": "share on the best mode",
    "reward": "expected reward",
    "out_of_bounds": "share out of bounds",
}
#: of what differs from the first run
MARK, EXPLAINED = " *", "differs from {first}: the 95% interval of the difference, paired by seed, leaves out 0"
#: more runs than this make a table that is read by rows
MOST_COLUMNS = 5


def format_interval(mean: float, low: float, digits: int = 4) -> str:
    """`0.993 +- 0.002`: the mean and half the interval's width; the mean alone where there is no interval."""
    if np.isnan(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {mean - low:.{digits}f}"


def table(summary: pd.DataFrame, reference: dict[str, float], differences: pd.DataFrame) -> str:
    """Metrics down, runs across, mean and 95% interval over seeds; a column for fresh data where it is known.

    Many runs go down instead, and metrics across. What differs from the first run by more than chance is marked.
    """
    runs = list(dict.fromkeys(summary["run"]))
    telling = {
        (row.run, row.metric)
        for row in differences.itertuples(index=False)
        if row.versus == runs[0] and not row.low <= 0 <= row.high
    }
    text = [
        format_interval(row.mean, row.low) + (MARK if (row.run, row.metric) in telling else " " * len(MARK))
        for row in summary.itertuples(index=False)
    ]
    wide = summary.assign(text=text).pivot(index="metric", columns="run", values="text")
    wide = wide.loc[list(dict.fromkeys(summary["metric"])), runs]
    if reference:
        wide["fresh data"] = [f"{reference[metric]:.4f}" for metric in wide.index]
    wide = wide.rename_axis(index="metric", columns=None)
    read = (wide if wide.shape[1] <= MOST_COLUMNS else wide.T).to_string()
    return f"{read}\n\n{MARK.strip()} {EXPLAINED.format(first=runs[0])}" if telling else read


def draw_samples(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """One panel for the data and one for each run and view: samples of all its seeds over the data."""
    final = statistics.final(summary)
    panels = [(run, view) for run in run_directories(directory) for view in range(len(read_config(run)["views"]))]
    figure, axes = _grid(len(panels) + 1, height=4.4)
    with np.load(panels[0][0] / "samples.npz") as stored:
        data = stored["reference_actions"][0]
    palette = sns.color_palette("deep", len(panels))
    _scatter(axes[0], data, sns.color_palette("deep")[7], "data\n", "")
    for axis, (run, view), color, (name, rows) in zip(
        axes[1:], panels, palette, final.groupby("run", sort=False), strict=True
    ):
        with np.load(run / "samples.npz") as stored:
            actions = stored[f"actions_{view}"]
        _scatter(axis, data, "0.85", None, "")
        seeds = len(actions)
        thinned = actions[:, : max(1, 2000 // seeds)].reshape(-1, 2)
        _scatter(axis, thinned, color, f"{name}\n{seeds} seed{'s' if seeds > 1 else ''}", _caption(rows))
    axes[0].set_ylabel("action 2")
    _save(figure, path)


def draw_curves(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Each headline metric against training steps: mean and 95% interval over seeds, one line a run."""
    shown = list(dict.fromkeys(summary["metric"]))[:4]
    figure, axes = _grid(len(shown), height=3.2, share=False)
    for axis, metric in zip(axes, shown, strict=True):
        _lines(axis, summary[summary["metric"] == metric], x="step", by="run", legend=False)
        axis.set(xlabel="training step", title=metric.replace("_", " "))
        axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    _legend_above(figure, axes[0])
    _save(figure, path)


def draw_denoising(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Quality against network passes for each sampler, against T for each schedule, and for schedule x target."""
    rows = _with_choices(directory, statistics.final(summary))
    figure, (energy, modes, steps, heat) = _grid(4, height=3.4, share=False)
    resampled = rows[rows["views"] > 1]
    for axis, metric in ((energy, "energy_distance"), (modes, "on_mode")):
        shown = resampled[resampled["metric"] == metric]
        _lines(axis, shown, x="forwards", by="sampler_name", legend=axis is energy)
        axis.set(xscale="log", xlabel="network passes for an action", title=metric.replace("_", " "))
        _ticks(axis, [2, 5, 10, 20, 50])
    energy.set_yscale("log")
    trained = rows[(rows["metric"] == "energy_distance") & (rows["sampler"] == "as trained") & rows["T"].notna()]
    _lines(steps, trained[trained["target"] == "epsilon"], x="T", by="schedule")
    steps.set(xscale="log", yscale="log", xlabel="T, trained and sampled", title="energy distance")
    _ticks(steps, [5, 10, 20, 50])
    at_20 = trained[trained["T"] == 20]
    if at_20.empty:
        heat.set_visible(False)
        return _save(figure, path)
    text = at_20.assign(text=list(map(format_interval, at_20["mean"], at_20["low"])))
    table = at_20.pivot(index="schedule", columns="target", values="mean")
    labels = text.pivot(index="schedule", columns="target", values="text").map(lambda cell: cell.replace(" ± ", "\n± "))
    sns.heatmap(np.log10(table), annot=labels, fmt="", ax=heat, cmap="rocket", cbar=False, annot_kws={"fontsize": 8})
    heat.set(title="energy distance at T = 20", xlabel="target (x0 and v with min-SNR weights)", ylabel="")
    _save(figure, path)


def draw_methods(directory: Path, summary: pd.DataFrame, path: Path) -> None:
    """Each policy class under cloning and with Q on one line, published methods below: mean and 95% interval."""
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
    figure, axes = _grid(len(HEADLINE), height=0.28 * len(names) + 1.2)
    for axis, (metric, title) in zip(axes, HEADLINE.items(), strict=True):
        for color, (kind, group) in zip(sns.color_palette("deep"), rows.groupby("kind", sort=False), strict=False):
            shown = group[group["metric"] == metric]
            axis.hlines([names.index(line) for line in shown["line"]], shown["low"], shown["high"], color=color)
            axis.plot(shown["mean"], [names.index(line) for line in shown["line"]], "o", color=color, label=kind)
        axis.set(xlabel=title, yticks=range(len(names)), yticklabels=names)
        axis.grid(axis="y", alpha=0.4)
        sns.despine(ax=axis)
    axes[0].set(xscale="log")
    axes[0].invert_yaxis()
    _legend_above(figure, axes[0])
    _save(figure, path)


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


def _ticks(axis: Axes, values: list[int]) -> None:
    """These values and no others on a logarithmic x-axis."""
    axis.set_xticks(values, [str(value) for value in values])
    axis.xaxis.set_minor_formatter(NullFormatter())


def _legend_above(figure: Figure, axis: Axes) -> None:
    """One legend for panels that all have the lines of `axis`."""
    lines, names = axis.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=min(len(names), 4), frameon=False)


def _lines(axis: Axes, rows: pd.DataFrame, x: str, by: str, legend: bool = True) -> None:
    """Mean and interval against `x`, one line for each value of `by`."""
    for color, (name, group) in zip(sns.color_palette("deep"), rows.groupby(by, sort=False), strict=False):
        line = group.sort_values(x)
        axis.plot(line[x], line["mean"], color=color, marker="o", markersize=3, label=name)
        axis.fill_between(line[x], line["low"], line["high"], color=color, alpha=0.2, linewidth=0)
    if legend:
        axis.legend(frameon=False, fontsize=8)
    sns.despine(ax=axis)


def _grid(panels: int, height: float, share: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most five in a row."""
    sns.set_theme(style="ticks", context="paper", font_scale=1.1)
    columns = min(5, panels)
    rows = -(-panels // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns, height * rows), layout="constrained", squeeze=False, sharey=share
    )
    flat = list(axes.flat)
    for axis in flat[panels:]:
        axis.set_visible(False)
    return figure, flat[:panels]


def _save(figure: Figure, path: Path) -> None:
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


def _caption(final: pd.DataFrame) -> str:
    rows = final.set_index("metric")
    return "\n".join(
        f"{metric.replace('_', ' ')} {format_interval(rows.loc[metric, 'mean'], rows.loc[metric, 'low'], digits)}"
        for metric, digits in CAPTION.items()
        if metric in rows.index
    )


FIGURES: dict[str, Callable[[Path, pd.DataFrame, Path], None]] = {
    "samples": draw_samples,
    "curves": draw_curves,
    "denoising": draw_denoising,
    "methods": draw_methods,
}
