"""How much of the variation of a score each factor explains, and each combination of factors.

Scores are rows: a column for each factor, `seed`, `value`. Of a balanced factorial (every combination has the same
seeds) the sum of squares falls apart exactly: y = sum over sets T of factors of the effect e_T, which is the marginal
mean of T less the effects of its subsets; SS_T = sum e_T^2. What holds the seed is the seeds' own.

The raw share SS_T / SS is too large, since seeds scatter the means. `share` takes that off without bias: a seed is one
more factor, drawn at random, so that SS_T - SS_(T x seed) / (S - 1) has the expectation of the effect alone, whether
seeds are paired or not (Cornfield and Tukey, 1956). For one factor and unpaired seeds this is epsilon squared. Shares
of both kinds sum to one.

Where combinations are missing, a factor's share is its Shapley value: what it adds to the explained variance, meaned
over all orders of the factors (Lipovetsky and Conklin, 2001). Of a balanced factorial it is the factor's own share,
half of each pair's, a third of each triple's, and so on.

Intervals are the jackknife's over seeds (or tasks) with Student's t: leave out one at a time. It takes three. With two,
no seed left out leaves a scatter to measure, and there is none (nan).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.statistics import t_interval
from core.options import OptionError

#: the name of the share that no factor explains
SEEDS = "seeds"
#: 2^6 sets of factors are looked at, at most
MOST_FACTORS = 6
#: between the factors of a combination
TIMES = " x "


def sums_of_squares(scores: np.ndarray) -> dict[tuple[int, ...], float]:
    """Of a full array, one axis for each factor: set of axes -> its sum of squares. They sum to that about the mean."""
    axes = range(scores.ndim)
    effects: dict[tuple[int, ...], np.ndarray] = {(): scores.mean(keepdims=True)}
    for size in range(1, scores.ndim + 1):
        for term in itertools.combinations(axes, size):
            marginal = scores.mean(tuple(axis for axis in axes if axis not in term), keepdims=True)
            effects[term] = marginal - sum(effects[part] for part in _proper_subsets(term))
    return {
        term: float((effect**2).sum() * scores.size / effect.size) for term, effect in effects.items() if term != ()
    }


def _proper_subsets(term: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [part for size in range(len(term)) for part in itertools.combinations(term, size)]


def decompose(scores: pd.DataFrame, factors: Sequence[str], over: str = "seed") -> pd.DataFrame:
    """Rows of term, raw, share, low, high: each factor, each combination of factors, and the seeds.

    `over`: what is left out for the interval, `seed`, or a factor whose levels are drawn at random (`task`): then the
    interval speaks of other tasks too. Raises `OptionError` where a combination lacks a seed that another has.
    """
    array = as_array(scores, factors)
    names = [*(TIMES.join(factors[axis] for axis in term) for term in _terms(len(factors))), SEEDS]
    share = corrected_shares(array)
    axis = [*factors, "seed"].index(over)
    low, high = _jackknife(lambda kept: corrected_shares(array.take(kept, axis)), array.shape[axis], share, over)
    return pd.DataFrame({"term": names, "raw": raw_shares(array), "share": share, "low": low, "high": high})


def as_array(scores: pd.DataFrame, factors: Sequence[str]) -> np.ndarray:
    """`[*levels, S]`, levels and seeds sorted."""
    keys = [*factors, "seed"]
    _check(scores, factors)
    shape = [scores[key].nunique() for key in keys]
    if len(scores) != math.prod(shape):
        raise OptionError(f"{TIMES.join(factors)}: {len(scores)} scores of {math.prod(shape)}: not every combination")
    return scores.sort_values(keys)["value"].to_numpy(float).reshape(shape)


def _check(scores: pd.DataFrame, factors: Sequence[str]) -> None:
    if not 1 <= len(factors) <= MOST_FACTORS:
        raise OptionError(f"{len(factors)} factors; a decomposition takes 1 to {MOST_FACTORS}")
    twice = scores.duplicated([*factors, "seed"])
    if twice.any():
        where = ", ".join(f"{key}={scores.loc[twice.idxmax(), key]}" for key in [*factors, "seed"])
        raise OptionError(f"{where}: more than one score; name every factor that the scores differ in")
    if not np.isfinite(scores["value"].to_numpy(float)).all():
        raise OptionError("a score is not a finite number; leave out what diverged")


def _terms(factors: int) -> list[tuple[int, ...]]:
    return [term for size in range(1, factors + 1) for term in itertools.combinations(range(factors), size)]


def raw_shares(array: np.ndarray) -> np.ndarray:
    """`[*levels, S]` -> the share of each set of factors in the sum of squares, and last that of the seeds."""
    squares = sums_of_squares(array)
    terms = np.array([squares[term] for term in _terms(array.ndim - 1)])
    return _to_one(terms, sum(squares.values()))


def corrected_shares(array: np.ndarray) -> np.ndarray:
    """The same with the seeds' part taken off each; nan of one seed, which shows no scatter."""
    squares, seed = sums_of_squares(array), array.ndim - 1
    degrees = array.shape[seed] - 1
    if degrees == 0:
        return np.full(len(_terms(seed)) + 1, np.nan)
    terms = np.array([squares[term] - squares[*term, seed] / degrees for term in _terms(seed)])
    return _to_one(terms, sum(squares.values()))


def _to_one(terms: np.ndarray, total: float) -> np.ndarray:
    """nan where all scores are the same."""
    shares = np.append(terms, total - terms.sum())
    return shares / total if total > 0 else shares * np.nan


def shapley(scores: pd.DataFrame, factors: Sequence[str]) -> pd.DataFrame:
    """Rows of term, share, low, high: each factor and the seeds, of a factorial that may have gaps.

    A set of factors explains the variance between the means of its combinations, less what the scatter of seeds alone
    puts there. Intervals leave out one seed at a time.
    """
    _check(scores, factors)
    share, seeds = shapley_shares(scores, factors), scores["seed"].unique()
    low, high = _jackknife(
        lambda kept: shapley_shares(scores[scores["seed"].isin(seeds[kept])], factors), len(seeds), share
    )
    return pd.DataFrame({"term": [*factors, SEEDS], "share": share, "low": low, "high": high})


def shapley_shares(scores: pd.DataFrame, factors: Sequence[str]) -> np.ndarray:
    """A share for each factor and last the seeds'; nan where no combination has two seeds."""
    values = scores["value"].to_numpy(float)
    total = float(((values - values.mean()) ** 2).sum())
    cells = scores.groupby(list(factors))["value"]
    degrees = len(values) - cells.ngroups
    if degrees == 0 or total == 0:
        return np.full(len(factors) + 1, np.nan)
    scatter = float(((values - cells.transform("mean")) ** 2).sum()) / degrees
    explained: dict[tuple[int, ...], float] = {(): 0.0}
    for term in _terms(len(factors)):
        groups = scores.groupby([factors[axis] for axis in term])["value"]
        between = float(((groups.transform("mean") - values.mean()) ** 2).sum())
        explained[term] = between - (groups.ngroups - 1) * scatter
    return _to_one(np.array([_shapley_value(axis, len(factors), explained) for axis in range(len(factors))]), total)


def _shapley_value(axis: int, factors: int, explained: dict[tuple[int, ...], float]) -> float:
    """The mean over all orders: a set of k others comes first in k! (n - k - 1)! / n! of them."""
    value = 0.0
    for before in [(), *_terms(factors)]:
        if axis not in before and len(before) < factors:
            weight = 1 / (factors * math.comb(factors - 1, len(before)))
            value += weight * (explained[tuple(sorted((*before, axis)))] - explained[before])
    return value


def _jackknife(
    shares: Callable[[np.ndarray], np.ndarray], count: int, share: np.ndarray, over: str = "seed"
) -> tuple[np.ndarray, np.ndarray]:
    """95% interval of each share, within [0, 1]; nan below three to leave out."""
    if count < 3:
        return share * np.nan, share * np.nan
    without = np.array([shares(np.delete(np.arange(count), one)) for one in range(count)])
    error = np.sqrt((count - 1) / count * ((without - without.mean(0)) ** 2).sum(0))
    half = stats.t.ppf(0.975, count - 1) * error
    return np.clip(share - half, 0, 1), np.clip(share + half, 0, 1)


def swaps(scores: pd.DataFrame, factor: str, factors: Sequence[str]) -> pd.DataFrame:
    """What each level gains on each before it, in the score's unit: level, versus, mean, low, high, worst, best, cells.

    The mean over the combinations of the other factors that both have, with the 95% interval over seeds, paired;
    `worst` and `best` are of one combination, meaned over seeds.
    """
    _check(scores, factors)
    others = [name for name in factors if name != factor]
    wide = scores.pivot(index=[*others, "seed"], columns=factor, values="value")
    rows = []
    for versus, level in itertools.combinations(wide.columns, 2):
        gain = (wide[level] - wide[versus]).dropna()
        if gain.empty:
            continue
        of_cells = gain.groupby(others).mean() if others else pd.Series([gain.mean()])
        # a seed that some combination lacks would move the mean by what it is not there for
        by_seed = gain.unstack("seed").dropna(axis=1).mean() if others else gain
        interval = t_interval(by_seed.to_numpy()) if len(by_seed) else None
        low, high = (interval.low, interval.high) if interval and len(by_seed) > 2 else (np.nan, np.nan)
        rows.append((level, versus, of_cells.mean(), low, high, of_cells.min(), of_cells.max(), len(of_cells)))
    return pd.DataFrame(rows, columns=["level", "versus", "mean", "low", "high", "worst", "best", "cells"])
