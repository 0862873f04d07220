"""Statistics of a run over several tasks, after Agarwal et al. (2108.13264, section 4).

Scores of a run are strata: one array for each task, a value for each seed. The bootstrap draws seeds anew within each
task and keeps the tasks: intervals speak of these tasks and other seeds. They are Student's t on the bootstrap's
standard error, and not its percentiles: of three seeds a task these hold the truth 85 times in 100 at best, and no
percentile reaches past the draws there are.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from ablations.analysis.statistics import Interval

#: one array `[..., seeds]` for each task
Strata = Sequence[np.ndarray]
#: of strata, over their last axis
Statistic = Callable[..., np.ndarray]
#: value, low, high
Band = tuple[np.ndarray, np.ndarray, np.ndarray]
RESAMPLES = 5000
#: the score at which a task counts as solved: the expert's
SOLVED = 100.0


def interquartile_mean(*strata: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean of the middle half of all scores, tasks and seeds together."""
    return stats.trim_mean(np.concatenate(strata, axis), 0.25, axis=axis)


def mean(*strata: np.ndarray, axis: int = -1) -> np.ndarray:
    """The mean over tasks of the mean over seeds."""
    return np.mean([scores.mean(axis) for scores in strata], axis=0)


def median(*strata: np.ndarray, axis: int = -1) -> np.ndarray:
    """The median over tasks of the mean over seeds: deaf to half of the tasks."""
    return np.median([scores.mean(axis) for scores in strata], axis=0)


def optimality_gap(*strata: np.ndarray, axis: int = -1) -> np.ndarray:
    """By how much scores fall short of 100 on the mean, none making up for another's shortfall."""
    return SOLVED - mean(*(np.minimum(scores, SOLVED) for scores in strata), axis=axis)


STATISTICS: dict[str, Statistic] = {
    "interquartile mean": interquartile_mean,
    "mean": mean,
    "median": median,
    "optimality gap": optimality_gap,
}


def bootstrap(statistic: Statistic, strata: Strata, spread: Strata | None = None) -> Interval:
    """The statistic of the strata and its 95% interval; none (nan) where a task has one seed alone.

    Half the interval is the bootstrap's standard error times Student's t, whose freedom is Satterthwaite's for the mean
    of `spread`, by default the strata themselves. The draws are always the same ones.
    """
    return Interval(*map(float, _bootstrap(statistic, strata, spread)))


def _bootstrap(statistic: Statistic, strata: Strata, spread: Strata | None = None) -> Band:
    """The same for strata with leading axes, which value, low and high then have."""
    value, seeds = statistic(*strata), [scores.shape[-1] for scores in strata]
    if min(seeds) < 2:
        return value, value * np.nan, value * np.nan
    drawn = stats.bootstrap(
        tuple(strata),
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    # a bootstrap has the variance that divides by n
    error = drawn.standard_error * np.sqrt(min(seeds) / (min(seeds) - 1))
    half = stats.t.ppf(0.975, _freedom(strata if spread is None else spread)) * error
    return value, value - half, value + half


def _freedom(strata: Strata) -> np.ndarray:
    """Degrees of freedom of the mean of the strata's means (Satterthwaite, 1946)."""
    of_each = np.array([scores.shape[-1] - 1 for scores in strata])
    variances = np.stack([scores.var(-1, ddof=1) / scores.shape[-1] for scores in strata], -1)
    whole = variances.sum(-1) ** 2
    parts = (variances**2 / of_each).sum(-1)
    return np.divide(whole, parts, out=np.full_like(whole, of_each.sum()), where=parts > 0)


def difference(statistic: Statistic, one: Strata, other: Strata) -> Interval:
    """The statistic of `one` less that of `other`, whose seeds are paired: the same are drawn of both."""
    which = [np.arange(len(scores)) for scores in one]

    def of_drawn(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.subtract(
            *(
                statistic(*(scores[seeds] for scores, seeds in zip(strata, drawn, strict=True)), axis=axis)
                for strata in (one, other)
            )
        )

    return bootstrap(of_drawn, which, [x - y for x, y in zip(one, other, strict=True)])


def probability_of_improvement(one: Strata, other: Strata) -> Interval:
    """How likely a seed of `one` scores above a seed of `other`, a tie counting half; the mean over tasks."""

    def of_drawn(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        halves = zip(drawn[: len(one)], drawn[len(one) :], strict=True)
        return np.mean([_above(x, y) for x, y in halves], axis=0)

    return Interval(*map(float, _within(_bootstrap(of_drawn, [*one, *other]))))


def _above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gaps = x[..., :, None] - y[..., None, :]
    return ((gaps > 0) + 0.5 * (gaps == 0)).mean((-1, -2))


def performance_profile(thresholds: np.ndarray, strata: Strata) -> Band:
    """The share of scores above each threshold, tasks counting alike."""
    return _within(_bootstrap(mean, [(scores > thresholds[:, None]) * 1.0 for scores in strata]))


def _within(band: Band) -> Band:
    """A share and its interval have no place outside [0, 1]; draws that all agree do not say how sure that is."""
    share, low, high = band
    unsure = np.where(high > low, 0, np.nan)
    return share, np.clip(low, 0, 1) + unsure, np.clip(high, 0, 1) + unsure


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of rule, run, versus ("" for none), statistic, value, low, high, tasks.

    Against the runs before it: each statistic's difference, over the seeds that both have, and the probability of
    improvement.
    """
    rows = []
    for rule, read_so in scores.groupby("rule", sort=False):
        by_run = {run: group for run, group in read_so.groupby("run", sort=False)}
        for run, group in by_run.items():
            for name, statistic in STATISTICS.items():
                rows.append((rule, run, "", name, bootstrap(statistic, strata(group))))
        for (versus, before), (run, group) in itertools.combinations(by_run.items(), 2):
            one, other = strata(group), strata(before)
            improves = probability_of_improvement(one, other)
            rows.append((rule, run, versus, "probability of improvement", improves))
            paired = _paired(group, before)
            if paired is None:
                continue
            for name, statistic in STATISTICS.items():
                rows.append((rule, run, versus, name, difference(statistic, *paired)))
    columns = ["rule", "run", "versus", "statistic", "value", "low", "high"]
    frame = pd.DataFrame([(*keys, *interval) for *keys, interval in rows], columns=columns)
    return frame.assign(tasks=scores["task"].nunique())


def profiles(scores: pd.DataFrame) -> pd.DataFrame:
    """Rows of rule, run, score, share, low, high: the share of seeds and tasks above each of a row of scores."""
    at = np.linspace(min(0.0, scores["value"].min()), max(SOLVED, scores["value"].max()), 41)
    tables = []
    for (rule, run), group in scores.groupby(["rule", "run"], sort=False):
        share, low, high = performance_profile(at, strata(group))
        tables.append(pd.DataFrame({"rule": rule, "run": run, "score": at, "share": share, "low": low, "high": high}))
    return pd.concat(tables, ignore_index=True)


def strata(scores: pd.DataFrame) -> list[np.ndarray]:
    """The scores of one run by one rule: an array of seeds for each task, in the order of the tasks' names."""
    return [group["value"].to_numpy(float) for _, group in scores.groupby("task")]


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
    """Both over the seeds they share, in the same order; None where a task has none."""
    both = one.merge(other, on=["task", "seed"], suffixes=("_one", "_other"))
    if both["task"].nunique() < one["task"].nunique():
        return None
    paired = [group[["value_one", "value_other"]].to_numpy(float).T for _, group in both.groupby("task")]
    return [x for x, _ in paired], [y for _, y in paired]
