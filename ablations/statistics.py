"""Statistics over seeds. Scores are always one value for each seed of each run; nothing here draws."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def t_interval(values: np.ndarray, confidence: float = 0.95) -> Interval:
    """Mean of independent seeds and Student's t interval for it; one value alone has no interval (nan)."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    half = stats.t.ppf((1 + confidence) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def summarise(metrics: pd.DataFrame) -> pd.DataFrame:
    """Last evaluation of each run: columns run, metric, mean, low, high, seeds; in the order of `metrics`."""
    last = metrics[metrics["step"] == metrics.groupby("run")["step"].transform("max")]
    rows = [
        {"run": run, "metric": metric, **t_interval(group["value"].to_numpy())._asdict(), "seeds": len(group)}
        for (run, metric), group in last.groupby(["run", "metric"], sort=False)
    ]
    return pd.DataFrame(rows)
