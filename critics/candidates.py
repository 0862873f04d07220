"""What the heads say of several actions for each observation. Axes: N candidates, K critics."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from policies.base import repeated


def values_of(critic: Callable[[Tensor, Tensor], Tensor], obs: Tensor, actions: Tensor) -> Tensor:
    """Each head's value of each candidate: obs `[S, B, O]`, actions `[S, B, N, A]` -> `[S, K, B, N]`."""
    count = actions.shape[2]
    return critic(repeated(obs, count), actions.flatten(1, 2)).unflatten(-1, (-1, count))


def lower_bound(values: Tensor, rho: float) -> Tensor:
    """Mean of the heads less rho times their deviation (over K, not K - 1): `[S, K, B] -> [S, B]`."""
    return values.mean(1) - rho * values.std(1, correction=0)
