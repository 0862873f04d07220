"""The square [-1, 1]^2 in cells: densities become masses, and divergences sums. Axes: C cells, row by row, n samples.

Masses are mixed with a share `SMOOTH` of the uniform, policy's and behaviour's alike, so that a divergence is finite
where the behaviour has no data. An action outside the box counts in the nearest cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: cells along an edge
SIDE = 40
#: points along an edge of each cell, of which a density's mass is made
WITHIN = 5
SMOOTH = 0.01


def centres(side: int) -> Tensor:
    """The middles of side x side cells, `[side^2, 2]`."""
    line = (torch.arange(side, dtype=torch.float64) + 0.5) / side * 2 - 1
    return torch.cartesian_prod(line, line)


def masses(log_density: Callable[[Tensor], Tensor], side: int = SIDE) -> Tensor:
    """The mass of a density in each cell, by its values at `WITHIN`^2 points of each, normalised: `[C]`."""
    fine = side * WITHIN
    mass = log_density(centres(fine)).exp().view(side, WITHIN, side, WITHIN).sum((1, 3)).flatten()
    return mass / mass.sum()


def counted(act: Tensor, side: int = SIDE) -> Tensor:
    """The share of the samples `[n, 2]` in each cell, `[C]`."""
    place = ((act.clamp(-1, 1) + 1) / 2 * side).long().clamp(max=side - 1)
    return torch.bincount(place[:, 0] * side + place[:, 1], minlength=side**2).double() / len(act)


def smoothed(mass: Tensor) -> Tensor:
    """With a share of the uniform."""
    return (1 - SMOOTH) * mass + SMOOTH / len(mass)


def divergence(p: Tensor, q: Tensor) -> float:
    """KL(p || q) of masses `[C]`, in nats; q is positive where p is."""
    there = p > 0
    return float(torch.special.xlogy(p[there], p[there] / q[there]).sum())


def frontier(mass: Tensor, values: Tensor, betas: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Divergence from the behaviour and expected reward of p_beta ~ p exp(beta Q) on the cells, each `[len(betas)]`.

    No distribution over the cells has more reward at its divergence (Donsker and Varadhan 1975). `values`: Q `[C]`.
    """
    behaviour = smoothed(mass)
    found = []
    for beta in betas:
        tilted = (behaviour.log() + beta * values).softmax(0)
        found.append((divergence(tilted, behaviour), float(tilted @ values)))
    return torch.tensor([kl for kl, _ in found]), torch.tensor([reward for _, reward in found])
