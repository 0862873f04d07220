"""Rewards as known functions of context and action, so that Q of a one-step task is exact.

Each is made of what its behaviour knows: what the nearest mode is worth, how far an action is from the support, where
data are rarest. All are differentiable in the action, and at most HIGHEST on the support. Axes: n rows, A action.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tasks.behaviours.base import Behaviour
from tasks.behaviours.values import HIGHEST

#: how far from the support rewards have fallen to exp(-1/2) of themselves
LENGTH = 0.1
#: what the trap is worth far from the data, more than any mode
BAIT = 2 * HIGHEST
#: width of the needle
NEEDLE = 0.1

Reward = Callable[[Behaviour, Tensor, Tensor], Tensor]


def as_released(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """The nearest mode's value, however far outside the data (the released bandit)."""
    return behaviour.value(obs, act)


def _kernel(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """1 on the support, falling to 0 outside."""
    return (-(behaviour.distance(obs, act) / LENGTH).square() / 2).exp()


def on_support(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """The nearest mode's value on the support, falling to 0 outside it."""
    return behaviour.value(obs, act) * _kernel(behaviour, obs, act)


def trap(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """The mode's value on the support, rising to `BAIT` outside, where there are no data."""
    kernel = _kernel(behaviour, obs, act)
    return behaviour.value(obs, act) * kernel + BAIT * (1 - kernel)


def linear(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """HIGHEST times the mean of the action's entries: a slope across the modes."""
    return HIGHEST * act.mean(-1)


def quadratic(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """HIGHEST (1 - |a - 0.4|^2 / A): a hill whose top, 0.4 in each entry, need not be where data are."""
    return HIGHEST * (1 - (act - 0.4).square().mean(-1))


def needle(behaviour: Behaviour, obs: Tensor, act: Tensor) -> Tensor:
    """HIGHEST at the centre of the rarest mode, and within `NEEDLE` of it next to nothing."""
    gaps = (act - behaviour.rarest(obs).to(act)) / NEEDLE
    return HIGHEST * (-gaps.square().sum(-1) / 2).exp()


REWARDS: dict[str, Reward] = {
    "as-released": as_released,
    "on-support": on_support,
    "trap": trap,
    "linear": linear,
    "quadratic": quadratic,
    "needle": needle,
}
