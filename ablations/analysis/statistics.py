"""Statistics over seeds. Scores are always one value for each seed of each run; nothing here draws."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
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


def summarise(values: pd.DataFrame, by: Sequence[str] = (*CURVE, "step", "metric")) -> pd.DataFrame:
    """Rows that differ in nothing of `by`, over seeds: the columns of `by`, mean, low, high, seeds."""
    rows = [
        {**dict(zip(by, key, strict=True)), **_interval(group["value"].to_numpy())}
        for key, group in values.groupby(list(by), sort=False)
    ]
    return pd.DataFrame(rows)


def _interval(values: np.ndarray) -> dict[str, float]:
    return {**t_interval(values)._asdict(), "seeds": len(values)}


def final(rows: pd.DataFrame) -> pd.DataFrame:
    """Those of each run's last evaluation."""
    return rows[rows["step"] == rows.groupby("run")["step"].transform("max")]


def paired_differences(values: pd.DataFrame) -> pd.DataFrame:
    """Each run less each one before it, seed by seed: run, versus, metric, mean, low, high, seeds.

    A seed is the same batches and the same first critic in every run, so that much of what seeds differ in cancels. Of
    two runs count the seeds that both have, two at least. Intervals are of one difference each, with no correction for
    how many are looked at. `values`: one row for each run, metric and seed.
    """
    rows = []
    for metric, group in values.groupby("metric", sort=False):
        by_run = group.pivot(index="seed", columns="run", values="value")
        for versus, run in itertools.combinations(dict.fromkeys(group["run"]), 2):
            difference = (by_run[run] - by_run[versus]).dropna().to_numpy()
            if len(difference) > 1:
                rows.append({"run": run, "versus": versus, "metric": metric, **_interval(difference)})
    return pd.DataFrame(rows)


def format_interval(mean: float, low: float, digits: int = 4) -> str:
    """`0.993 +- 0.002`: the mean and half the interval's width; the mean alone where there is no interval."""
    if np.isnan(low):
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {mean - low:.{digits}f}"
