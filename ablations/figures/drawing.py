"""What the figures share: panels, lines, legends, axes, files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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


#: what figures are for, which sets the size of lines and letters
STYLES = ("paper", "notebook", "talk", "poster")
#: inches of a panel's width, and the least of them that can be read
PANEL, NARROWEST = 3.1, 1.7


@dataclass(frozen=True)
class Look:
    """How figures are drawn: `style`, and their width in inches, None for that of their panels."""

    style: str = "paper"
    width: float | None = None


DEFAULT = Look()
_LOOK: ContextVar[Look] = ContextVar("look", default=DEFAULT)


@contextmanager
def looking(look: Look) -> Iterator[None]:
    """Within, figures are drawn so."""
    before = _LOOK.set(look)
    try:
        yield
    finally:
        _LOOK.reset(before)


def grid(panels: int, height: float, share: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure of so many panels, at most five in a row, and no more than its width has room for."""
    look = _LOOK.get()
    sns.set_theme(style="ticks", context=look.style, font_scale=1.1)
    columns = min(5, panels)
    if look.width:
        columns = min(columns, max(1, int(look.width / NARROWEST)))
    rows = -(-panels // columns)
    wide = look.width / columns if look.width else PANEL
    size = (wide * columns, height * rows * min(1.0, wide / PANEL) if look.width else height * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharey=share)
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
    for columns in range(min(len(names), 4), 0, -1):
        legend = figure.legend(lines, names, loc="outside upper center", ncols=columns, frameon=False)
        # of a width that was asked for there may be less than four names need
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width or not _LOOK.get().width:
            return
        legend.remove()


#: of a figure's file, by its ending
FORMATS = ("png", "pdf", "svg")


def save(figure: Figure, path: Path) -> None:
    """Write a figure beside, then rename it into its place. Raises `OptionError` for an ending that is no format."""
    kind = path.suffix[1:].lower()
    if kind not in FORMATS:
        raise OptionError(f"{path}: a figure ends in {', '.join(f'.{one}' for one in FORMATS)}")
    # a width that was asked for is kept; letters stay letters, as journals ask
    trim = None if _LOOK.get().width else "tight"
    with beside(path) as partial, mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none"}):
        figure.savefig(partial, format=kind, dpi=150, bbox_inches=trim)
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
