"""Distances between two samples of actions. Pure; samples are `[..., n, A]` and `[..., m, A]`, results `[...]`.

MMD^2(x, y) = E k(x, x') + E k(y, y') - 2 E k(x, y)            (Gretton et al. 2012, eq. 5: all pairs, own ones too)
energy(x, y) = 2 E|x - y| - E|x - x'| - E|y - y'|              (Szekely and Rizzo 2013)

Over all pairs both are distances between the samples themselves: never negative, and zero where they are equal.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor, float], Tensor]


def differences(x: Tensor, y: Tensor) -> Tensor:
    """Every pair's difference, `[..., n, m, A]`."""
    return x[..., :, None, :] - y[..., None, :, :]


def laplacian(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """exp(-|x - y|_1 / scale) of every pair, `[..., n, m]`."""
    return torch.exp(-differences(x, y).abs().sum(-1) / scale)


def gaussian(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """exp(-|x - y|_2^2 / scale) of every pair, `[..., n, m]`."""
    return torch.exp(-differences(x, y).square().sum(-1) / scale)


KERNELS: dict[str, Kernel] = {"laplacian": laplacian, "gaussian": gaussian}


def mmd_squared(x: Tensor, y: Tensor, kernel: Kernel, scale: float) -> Tensor:
    """The squared maximum mean discrepancy over all pairs."""
    own_x, own_y, cross = (kernel(a, b, scale).mean((-2, -1)) for a, b in ((x, x), (y, y), (x, y)))
    return own_x + own_y - 2 * cross


def energy_distance(x: Tensor, y: Tensor, *, distinct: bool = False) -> Tensor:
    """The energy distance; `distinct`: E|x - x'| and E|y - y'| over pairs of different draws, which is unbiased.

    Against a single y the unbiased form is, up to the constant E|y - y'|, the energy score, strictly proper
    (Gneiting and Raftery 2007, section 4.3): it is least in expectation where x is distributed as y.
    """
    cross, own_x, own_y = (torch.linalg.vector_norm(differences(a, b), dim=-1) for a, b in ((x, y), (x, x), (y, y)))
    return 2 * cross.mean((-2, -1)) - _own_mean(own_x, distinct) - _own_mean(own_y, distinct)


def _own_mean(distances: Tensor, distinct: bool) -> Tensor:
    """The mean of `[..., n, n]`, with or without the diagonal (of zeros)."""
    n = distances.shape[-1]
    return distances.sum((-2, -1)) / (n * max(n - 1, 1) if distinct else n * n)
