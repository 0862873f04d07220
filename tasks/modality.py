"""Whether actions at similar observations have more than one mode, by Hartigan's dip among nearest neighbours.

Neighbourhoods of `NEIGHBOURS` rows near each other in observation are drawn apart from each other. Within each, what a
linear fit on the observation leaves of the actions is looked at along each dimension, and along that of most variance.
The dip (Hartigan & Hartigan 1985) is the distance of a sample's distribution to the nearest with one mode. Of all
distributions with one mode the uniform has the largest dips, so they are compared with those of uniform samples: the
statistic is the mean dip over neighbourhoods, in the direction where it is largest.
Axes: n transitions, O observation, A action, m neighbourhoods, k rows of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tasks.d4rl_reader import QLearning

#: rows of a neighbourhood (k), and neighbourhoods at most
NEIGHBOURS, MOST = 50, 20
#: rows that neighbours are looked for among, at most
LOOKED_AT = 20_000
#: dips of uniform samples of `NEIGHBOURS`: mean and deviation (tests/test_modality.py draws them)
UNIFORM_MEAN, UNIFORM_DEVIATION = 0.0503, 0.0108
#: columns of observations that the fit within a neighbourhood uses
FITTED = 3
#: a share of the actions' variance below which observations say all
NOTHING_LEFT = 1e-4
#: below this p it is said that there is more than one mode
LEVEL = 0.01


@dataclass(frozen=True)
class Modality:
    """`left`: share of the actions' variance that similar observations leave; dips `[m]` in the direction of most."""

    left: float
    dips: np.ndarray
    p: float
    #: what is left of the actions along that direction, sorted, of each neighbourhood
    residuals: np.ndarray  # [m, k]

    @property
    def words(self) -> str:
        """A clause for the block of what was loaded."""
        if self.left < NOTHING_LEFT:
            return "similar observations have the same actions, but for 0.01% of their variance"
        said = "more than one mode" if self.p < LEVEL else "no sign of more than one mode"
        return (
            f"at similar observations {self.left:.0%} of the variance of actions is left; {said} "
            f"(dip {self.dips.mean():.3f}, one mode has {UNIFORM_MEAN:.3f} or less, p = {max(self.p, 1e-6):.2g})"
        )


def modality(data: QLearning) -> Modality | None:
    """Of actions given observations; None where there are too few transitions to say."""
    rows = np.random.default_rng(0).permutation(len(data.rewards))[:LOOKED_AT]
    obs, act = (array[rows].astype(np.float64) for array in (data.observations, data.actions))
    count = min(MOST, len(rows) // (2 * NEIGHBOURS))
    variance = act.var(0).sum()
    if count < 2 or variance == 0:
        return None
    spread = obs.std(0)
    obs = (obs - obs.mean(0)) / np.where(spread > 0, spread, 1)
    left = np.stack([_residuals(obs[near], act[near]) for near in _neighbourhoods(obs, count)])  # [m, k, A]
    share = left.var(1).sum(-1).mean() / variance
    directions = np.concatenate([left, _longest(left)], -1)  # [m, k, A + 1]
    dips = np.array([[dip(np.sort(column)) for column in one.T] for one in directions])  # [m, A + 1]
    most = int(dips.mean(0).argmax())
    # so many directions were looked along
    one = _upper_tail((dips[:, most].mean() - UNIFORM_MEAN) / (UNIFORM_DEVIATION / math.sqrt(count)))
    p = -math.expm1(dips.shape[1] * math.log1p(-min(one, 1 - 1e-12)))
    return Modality(float(share), dips[:, most], p, np.sort(directions[..., most], -1))


def _upper_tail(z: float) -> float:
    return 0.5 * math.erfc(z / math.sqrt(2))


def _neighbourhoods(obs: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows of `count` neighbourhoods, apart from each other; `obs` in an order that is random."""
    free, found = np.ones(len(obs), bool), []
    for _ in range(count):
        rows = np.flatnonzero(free)
        distance = np.square(obs[rows] - obs[rows[0]]).sum(-1)
        near = rows[np.argpartition(distance, NEIGHBOURS - 1)[:NEIGHBOURS]]
        free[near] = False
        found.append(near)
    return found


def _residuals(obs: np.ndarray, act: np.ndarray) -> np.ndarray:
    """What the observations' leading columns leave of the actions by a linear fit, `[k, A]`."""
    centred = obs - obs.mean(0)
    columns, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    fitted = columns[:, :FITTED][:, sizes[:FITTED] > 1e-8 * max(sizes[0], 1e-8)]
    rest = act - act.mean(0)
    return rest - fitted @ (fitted.T @ rest)


def _longest(left: np.ndarray) -> np.ndarray:
    """The rows `[m, k, A]` along the direction in which they vary most, `[m, k, 1]`."""
    _, _, axes = np.linalg.svd(left, full_matrices=False)
    return left @ axes[:, :1].transpose(0, 2, 1)


def dip(ordered: np.ndarray) -> float:
    """Hartigan's dip of a sorted sample `[n]`: least 1 / (2 n), at most 1 / 4.

    The interval of the mode shrinks to where the convex hull below the empirical distribution and the concave hull
    above it are farthest apart, until the hulls outside it are farther from the distribution than those inside.
    """
    count = len(ordered)
    low, high, found = 0, count - 1, 1.0
    if ordered[0] == ordered[-1]:
        return found / (2 * count)
    ranks = np.arange(count, dtype=np.float64)
    while True:
        below = _hull(ordered, low, high, convex=True)
        above = _hull(ordered, low, high, convex=False)
        points = ordered[low : high + 1]
        inside = ranks[low : high + 1]
        lower, upper = (_along(points, inside, ordered[hull], ranks[hull]) for hull in (below, above))
        gap = upper - lower
        # the largest gap is at a corner of one of the hulls
        corners = np.union1d(below, above) - low
        at = int(corners[gap[corners].argmax()]) + low
        widest = gap[at - low] + 1
        if widest <= found:
            break
        left = below[np.searchsorted(below, at, side="right") - 1]
        right = above[np.searchsorted(above, at)]
        found = max(found, (inside - lower)[: left - low + 1].max() + 1, (upper - inside)[right - low :].max() + 1)
        if (left, right) == (low, high) or left >= right:
            break
        low, high = int(left), int(right)
    return found / (2 * count)


def _along(points: np.ndarray, inside: np.ndarray, corners: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The heights of a hull at points; where it is upright, equal values lie on it at their own ranks."""
    upright = np.isin(points, corners[1:][np.diff(corners) == 0])
    return np.where(upright, inside, np.interp(points, corners, heights))


def _hull(ordered: np.ndarray, low: int, high: int, convex: bool) -> np.ndarray:
    """Ranks of the corners of the greatest convex minorant, or least concave majorant, of (value, rank)."""
    # plain numbers: an array's are slower one by one
    ordered, corners = ordered.tolist(), [low]
    sign = 1.0 if convex else -1.0
    for rank in range(low + 1, high + 1):
        while len(corners) > 1:
            a, b = corners[-2], corners[-1]
            slope = (b - a) * (ordered[rank] - ordered[b]) - (rank - b) * (ordered[b] - ordered[a])
            if sign * slope < 0:
                break
            corners.pop()
        corners.append(rank)
    return np.array(corners)
