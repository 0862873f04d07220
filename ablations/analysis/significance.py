"""Which differences of a table are significant, many of them being looked at, and which are too small to be found."""

from __future__ import annotations

import functools

import numpy as np
import pandas as pd
from scipy import optimize, stats

#: the chance to mark any difference of a family where there is none
LEVEL = 0.05
#: the chance to mark a difference of the smallest detectable size
POWER = 0.8


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values (1979): the k-th smallest of m times m - k + 1, never below the one before it."""
    p_values = np.asarray(p_values, dtype=float)
    order = np.argsort(p_values)
    rising = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty_like(rising)
    adjusted[order] = np.minimum(rising, 1)
    return adjusted


def p_values(differences: pd.DataFrame) -> np.ndarray:
    """Of the paired t-test, from mean, low and seeds; 1 for runs that are the same in every seed."""
    mean, freedom = np.abs(differences["mean"].to_numpy(float)), differences["seeds"].to_numpy(int) - 1
    error = (differences["mean"] - differences["low"]).to_numpy(float) / stats.t.ppf(0.975, freedom)
    # seeds that all differ alike leave no doubt, and those that do not differ no difference
    t = np.divide(mean, error, out=np.where(mean > 0, np.inf, 0.0), where=error > 0)
    return 2 * stats.t.sf(t, freedom)


def significant(differences: pd.DataFrame, first: str) -> set[tuple[str, str]]:
    """Run and metric of the differences from the run `first` that are significant after Holm's correction.

    A family is one metric: all runs that are compared with the first by it.
    """
    found: set[tuple[str, str]] = set()
    if differences.empty:
        return found
    for metric, family in differences[differences["versus"] == first].groupby("metric", sort=False):
        sure = holm(p_values(family)) < LEVEL
        found |= {(run, metric) for run in family["run"][sure]}
    return found


@functools.cache
def detectable(seeds: int) -> float:
    """The smallest difference that a paired t-test at 5% finds 4 times in 5, in deviations of the paired differences.

    Without correction; a correction takes more. Power is of the noncentral t distribution.
    """
    freedom = seeds - 1
    critical = stats.t.ppf(1 - LEVEL / 2, freedom)
    return float(optimize.brentq(lambda size: stats.nct.sf(critical, freedom, size * np.sqrt(seeds)) - POWER, 0.01, 50))
