"""What the figures share: panels, lines, legends, axes, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ablations.record.integrity import beside
from core.options import OptionError, first_line

#: what sets the methods apart on the bandit
HEADLINE = {
    "energy_distance": "energy distance to the data",
    "best_mode": "share on the best mode",
    "reward": "expected reward",
    "out_of_bounds": "share out of bounds",
}


def grid(panels: int, height: float, share: bool = True) -> tuple[Figure, list[Axes]]:
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


#: of the data, and of nothing else
GREY = sns.color_palette("deep")[7]


def colors_of(names: Iterable[str]) -> dict[str, Any]:
    """A colour of its own for each name."""
    ordered = list(dict.fromkeys(names))
    colors = [color for color in sns.color_palette("deep") if color != GREY]
    if len(ordered) > len(colors):
        colors = sns.color_palette("husl", len(ordered))
    return dict(zip(ordered, colors, strict=False))


def lines(axis: Axes, rows: pd.DataFrame, x: str, by: str, legend: bool = True, log: bool = False) -> None:
    """Mean and interval against `x`, one line for each value of `by`; `log`: of what is positive."""
    colors = colors_of(rows[by])
    # an interval that reaches 0 has no place on a logarithmic axis
    floor = rows["mean"].min() / 2 if log else None
    for name, group in rows.groupby(by, sort=False):
        line, color = group.sort_values(x), colors[name]
        axis.plot(line[x], line["mean"], color=color, marker="o", markersize=3, label=name)
        axis.fill_between(line[x], line["low"].clip(lower=floor), line["high"], color=color, alpha=0.2, linewidth=0)
    if log:
        axis.set_yscale("log")
        axis.set_ylim(bottom=floor)
    if legend:
        axis.legend(frameon=False, fontsize=8)
    sns.despine(ax=axis)


def ticks(axis: Axes, values: Sequence[float]) -> None:
    """These values and no others on a logarithmic x-axis."""
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.xaxis.set_minor_formatter(NullFormatter())


def legend_above(figure: Figure, axis: Axes) -> None:
    """One legend for panels that all have the lines of `axis`."""
    lines, names = axis.get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=min(len(names), 4), frameon=False)


#: of a figure's file, by its ending
FORMATS = ("png", "pdf", "svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure beside, then rename it into its place. Raises `OptionError` for an ending that is no format."""
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise OptionError(f"{path}: a figure ends in {', '.join(f'.{one}' for one in FORMATS)}")
    with beside(path) as partial:
        figure.savefig(partial, format=kind, dpi=150, bbox_inches="tight")
    plt.close(figure)


def attempt(draw: Callable[[], None], path: Path) -> str | None:
    """Draw with matplotlib's defaults, whatever a matplotlibrc of the user's says; the line of what failed, if it did.

    Raises `OptionError` where what is to be drawn is damaged.
    """
    with mpl.rc_context():
        mpl.rcdefaults()
        try:
            draw()
        except OptionError:
            raise
        except Exception as error:
            # a figure is the last of what a run leaves, and must not take the table with it
            plt.close("all")
            return f"{path}: cannot be drawn ({first_line(error)})"
    return None
