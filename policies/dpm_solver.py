"""DPM-Solver-3 for a network that predicts noise, in single steps (Lu et al. 2022, arXiv 2206.00927, algorithm 2).

Time is continuous in (0, 1], lambda = log alpha - log sigma; for a schedule of T steps log alpha is piecewise linear
through (i / T, log(abar_i) / 2), i = 1..T, its end pieces prolonged. From S to t, eps0 being the noise predicted at S,

    D(t) = alpha_t / alpha_S x - sigma_t expm1(lambda_t - lambda_S) eps0

is a step of order 1. Steps are grouped so that each pass of the network counts: of order 3 and, for what is left, 2 or
1. All is arithmetic on plain numbers but the states.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from core.options import OptionError
from policies.schedules import Schedule, make_schedule


@dataclass(frozen=True)
class Level:
    """A time of the solver, and log alpha and log sigma there."""

    time: float
    log_alpha: float

    @property
    def log_sigma(self) -> float:
        return 0.5 * math.log(-math.expm1(2 * self.log_alpha))

    @property
    def log_ratio(self) -> float:
        """lambda."""
        return self.log_alpha - self.log_sigma


#: the levels a group passes, from where it starts to where it ends: 2 for order 1, 3 for order 2, 4 for order 3
Group = tuple[Level, ...]


def orders(steps: int) -> list[int]:
    """Orders of the groups that make `steps` passes of the network in all."""
    whole, left = divmod(steps, 3)
    if left == 0:
        return [3] * (whole - 1) + [2, 1]
    return [3] * whole + [left]


def plan(log_alpha: Callable[[float], float], steps: int, end: float) -> list[Group]:
    """The groups of `steps` equal pieces of time from 1 down to `end`; `log_alpha` of a time."""
    times = [1 + (end - 1) * i / steps for i in range(steps + 1)]
    levels = [Level(time, log_alpha(time)) for time in times]
    ends = [0, *itertools.accumulate(orders(steps))]
    return [tuple(levels[a : b + 1]) for a, b in itertools.pairwise(ends)]


def piecewise(schedule: Schedule) -> Callable[[float], float]:
    """log alpha of a time, as above, for a schedule of T steps."""
    knots = [i / schedule.T for i in range(1, schedule.T + 1)]
    values = [0.5 * math.log(abar) for abar in schedule.alphas_cumprod.tolist()]

    def log_alpha(t: float) -> float:
        if len(knots) == 1:
            return values[0] * t / knots[0]
        place = min(max(bisect_left(knots, t), 1), len(knots) - 1)
        (t0, t1), (v0, v1) = knots[place - 1 : place + 1], values[place - 1 : place + 1]
        return v0 + (v1 - v0) * (t - t0) / (t1 - t0)

    return log_alpha


def least_time(schedule: Schedule) -> float:
    """The time at which `piecewise` leaves no noise, which lies beyond its first knot: a sampler must end above it."""
    if schedule.T == 1:
        return 0.0
    log_alpha, knot = piecewise(schedule), 1 / schedule.T
    first = log_alpha(knot)
    return knot - knot * first / (log_alpha(2 * knot) - first)


def refuse_end(schedule: str, T: int, end: float) -> None:
    """Raise `OptionError` where a sampler would end without noise."""
    least = least_time(make_schedule(schedule, T))
    if end <= least:
        raise OptionError(
            f"t_end must be more than {least:.3g} with sampler dpm-3s, schedule {schedule} and T = {T}, where no noise "
            f"is left, got {end:g}"
        )


def solve(predict: Callable[[Tensor, float], Tensor], groups: Sequence[Group], x: Tensor) -> Tensor:
    """x at the end of the last group; `predict` maps (x, time) to the noise in x."""
    for group in groups:
        x = STEPS[len(group)](predict, group, x)
    return x


def _first(x: Tensor, noise: Tensor, start: Level, to: Level) -> Tensor:
    """D above."""
    h = to.log_ratio - start.log_ratio
    return math.exp(to.log_alpha - start.log_alpha) * x - math.exp(to.log_sigma) * math.expm1(h) * noise


def _order_1(predict: Callable[[Tensor, float], Tensor], group: Group, x: Tensor) -> Tensor:
    start, end = group
    return _first(x, predict(x, start.time), start, end)


def _order_2(predict: Callable[[Tensor, float], Tensor], group: Group, x: Tensor) -> Tensor:
    start, middle, end = group
    h, h1 = end.log_ratio - start.log_ratio, middle.log_ratio - start.log_ratio
    noise = predict(x, start.time)
    change = predict(_first(x, noise, start, middle), middle.time) - noise
    return _first(x, noise, start, end) - math.exp(end.log_sigma) * math.expm1(h) * h / (2 * h1) * change


def _order_3(predict: Callable[[Tensor, float], Tensor], group: Group, x: Tensor) -> Tensor:
    start, first, second, end = group
    h, h1, h2 = (level.log_ratio - start.log_ratio for level in (end, first, second))
    noise = predict(x, start.time)
    change = predict(_first(x, noise, start, first), first.time) - noise
    x2 = _first(x, noise, start, second)
    x2 = x2 - h2 / h1 * math.exp(second.log_sigma) * (math.expm1(h2) / h2 - 1) * change
    change = predict(x2, second.time) - noise
    return _first(x, noise, start, end) - math.exp(end.log_sigma) * (math.expm1(h) / h - 1) * h / h2 * change


STEPS = {2: _order_1, 3: _order_2, 4: _order_3}
