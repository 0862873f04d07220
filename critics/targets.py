"""Pure functions of the critic's training: the TD target, its loss, Polyak averaging."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def td_target(reward: Tensor, discount: Tensor, next_value: Tensor) -> Tensor:
    """r + discount * V(s'), all `[S, B]`; a terminal transition has discount 0 in the data."""
    return reward + discount * next_value


def td_loss(values: Tensor, target: Tensor, over_heads: str = "sum") -> Tensor:
    """Squared error of each head, their sum or mean: values `[S, K, B]`, target `[S, B]` -> `[S, B]`."""
    squared = (values - target[:, None]).square()
    return squared.mean(1) if over_heads == "mean" else squared.sum(1)


def expectile_loss(excess: Tensor, expectile: float) -> Tensor:
    """|expectile - 1[u < 0]| u^2 of each u = `excess`: least where that expectile of the u's is 0 (IQL, eq. 5)."""
    squared = excess.square()
    return torch.where(excess < 0, (1 - expectile) * squared, expectile * squared)


@torch.no_grad()
def polyak(averages: Iterable[Tensor], parameters: Iterable[Tensor], rate: float) -> None:
    """averages <- (1 - rate) * averages + rate * parameters, in place."""
    torch._foreach_lerp_(list(averages), list(parameters), rate)
