"""Distances between two samples `[n, A]` and `[m, A]`: pure functions, 0 for a sample and itself."""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.bandits import energy_distance

__all__ = ["energy_distance", "sliced_wasserstein"]

PROJECTIONS = 100


def sliced_wasserstein(x: Tensor, y: Tensor, projections: int = PROJECTIONS) -> float:
    """Root of the mean over directions of the squared 2-Wasserstein distance of projections (Bonneel et al. 2015).

    The directions are drawn once and always the same, so that two runs are measured alike. Samples of unlike size are
    compared quantile by quantile, at as many as the smaller has.
    """
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(x.shape[1], projections, generator=generator, dtype=x.dtype)
    directions = directions / directions.norm(dim=0)
    ours, theirs = ((points @ directions).sort(dim=0).values for points in (x, y))
    count = min(len(ours), len(theirs))
    gaps = _quantiles(ours, count) - _quantiles(theirs, count)
    return float(gaps.square().mean().sqrt())


def _quantiles(ordered: Tensor, count: int) -> Tensor:
    """`count` rows evenly spaced among the ordered rows `[n, D]`."""
    if len(ordered) == count:
        return ordered
    return ordered[((torch.arange(count) + 0.5) / count * len(ordered)).long()]
