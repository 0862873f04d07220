"""The table of a run or a comparison, as text."""

from __future__ import annotations

import numpy as np
import pandas as pd

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
