"""The best single Gaussian: what a class with one mode can do at most, the ceiling that measures are scaled by."""

from __future__ import annotations

import torch
from torch import Tensor


def best_gaussian(data: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """`count` draws of the Gaussian with mean and covariance of the data `[m, A]`, the nearest to them in KL(data ||
    Gaussian), `[count, A]`."""
    mean, covariance = data.mean(0), torch.atleast_2d(data.T.cov())
    # data on a line have none across it
    root = torch.linalg.cholesky(covariance + 1e-9 * torch.eye(len(mean), dtype=data.dtype))
    return mean + torch.randn(count, len(mean), generator=generator, dtype=data.dtype) @ root.T
