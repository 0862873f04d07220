"""Statistics of a run over several tasks, after Agarwal et al. (2108.13264, section 4).

Scores of a run are strata: one array for each task, a value for each seed. Intervals are percentiles of a bootstrap
that draws seeds anew within each task and keeps the tasks: they speak of these tasks and other seeds. Of a handful of
seeds such intervals are too narrow (three seeds: the 95% interval of a mean holds the truth 85 times in 100), so the
percentiles are moved out as Student's t would have them (Hesterberg, 1411.5279, "expanded percentile").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from ablations.statistics import Interval

#: one array `[..., seeds]` for each task
Strata = Sequence[np.ndarray]
#: of strata, over their last axis
Statistic = Callable[..., np.ndarray]
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


def bootstrap(statistic: Statistic, strata: Strata) -> Interval:
    """The statistic of the strata and its 95% interval; none (nan) where a task has one seed alone.

    The draws are always the same ones, so that the same scores give the same interval.
    """
    value, fewest = float(statistic(*strata)), min(len(scores) for scores in strata)
    if fewest < 2:
        return Interval(value, np.nan, np.nan)
    drawn = stats.bootstrap(
        tuple(strata),
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        axis=-1,
        method="percentile",
        confidence_level=_expanded(0.95, fewest, sum(len(scores) - 1 for scores in strata)),
        rng=np.random.default_rng(0),
    )
    return Interval(value, *map(float, drawn.confidence_interval))


def _expanded(confidence: float, seeds: int, freedom: int) -> float:
    """The level at which percentiles reach as far as Student's t does, with the variance that n - 1 estimates."""
    reach = np.sqrt(seeds / (seeds - 1)) * stats.t.ppf((1 + confidence) / 2, freedom)
    return float(1 - 2 * stats.norm.sf(reach))


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

    return bootstrap(of_drawn, which)


def probability_of_improvement(one: Strata, other: Strata) -> Interval:
    """How likely a seed of `one` scores above a seed of `other`, a tie counting half; the mean over tasks."""

    def of_drawn(*drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        halves = zip(drawn[: len(one)], drawn[len(one) :], strict=True)
        return np.mean([_above(x, y) for x, y in halves], axis=0)

    return bootstrap(of_drawn, [*one, *other])


def _above(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    gaps = x[..., :, None] - y[..., None, :]
    return ((gaps > 0) + 0.5 * (gaps == 0)).mean((-1, -2))


def share_above(threshold: float, strata: Strata) -> Interval:
    """The share of scores above a threshold, tasks counting alike: a point of the performance profile."""
    return bootstrap(mean, [(scores > threshold) * 1.0 for scores in strata])
