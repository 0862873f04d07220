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


#: what identifies one curve: a run and the way it was asked to act
CURVE = ["run", "label", "policy", "regularizer", "improvement", "backup", "selection", "sampler"]


def summarise(metrics: pd.DataFrame) -> pd.DataFrame:
    """Each metric of each run at each step, over seeds: the columns of CURVE, step, metric, mean, low, high, seeds."""
    rows = [
        {**dict(zip([*CURVE, "step", "metric"], key, strict=True)), **_interval(group["value"].to_numpy())}
        for key, group in metrics.groupby([*CURVE, "step", "metric"], sort=False)
    ]
    return pd.DataFrame(rows)


def _interval(values: np.ndarray) -> dict[str, float]:
    return {**t_interval(values)._asdict(), "seeds": len(values)}


def final(summary: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run's last evaluation."""
    return summary[summary["step"] == summary.groupby("run")["step"].transform("max")]
