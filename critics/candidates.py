"""Several actions for each observation, and what the heads say of them. Axes: N candidates, K critics."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from core.rng import Rng
from policies.base import Policy


def sample_each(policy: Policy, obs: Tensor, count: int, rng: Rng) -> Tensor:
    """`count` samples for each observation: `[S, B, O] -> [S, B, N, A]`."""
    return policy.sample(repeated(obs, count), rng).unflatten(1, (-1, count))


def values_of(critic: Callable[[Tensor, Tensor], Tensor], obs: Tensor, actions: Tensor) -> Tensor:
    """Each head's value of each candidate: obs `[S, B, O]`, actions `[S, B, N, A]` -> `[S, K, B, N]`."""
    count = actions.shape[2]
    return critic(repeated(obs, count), actions.flatten(1, 2)).unflatten(-1, (-1, count))


def repeated(obs: Tensor, count: int) -> Tensor:
    """Each observation `count` times in a row: `[S, B, O] -> [S, B * N, O]`."""
    return obs if count == 1 else obs.repeat_interleave(count, dim=1)
