"""Noise schedules: number of steps T -> betas, and all that follows from them, in float64.

The forward process is q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t I) (Ho et al. 2020, arXiv
2006.11239, eq. 2), so q(x_t | x_0) = N(sqrt(abar_t) x_0, (1 - abar_t) I) with abar_t = prod (1 - beta) (eq. 4).
Index 0 is the first step, t = 1 of the papers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


def linear_betas(T: int) -> Tensor:
    """Evenly spaced from 1e-4 to 2e-2 (Ho et al. 2020), *not* rescaled with T: nearly no noise at small T."""
    return torch.linspace(1e-4, 2e-2, T, dtype=torch.float64)


def cosine_betas(T: int) -> Tensor:
    """abar from a squared cosine with offset 0.008, betas at most 0.999 (Nichol & Dhariwal 2021, eq. 17).

    As released with Diffusion-QL, the T + 1 grid points are spread over [0, 1] *inclusive*.
    """
    grid = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    abar = torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - abar[1:] / abar[:-1]).clamp(0, 0.999)


def vp_betas(T: int) -> Tensor:
    """Variance-preserving SDE with beta from 0.1 to 10 (Diffusion-QL, appendix B): abar_T = exp(-5.05) for all T."""
    t = torch.arange(1, T + 1, dtype=torch.float64)
    return 1 - torch.exp(-0.1 / T - 0.5 * (10 - 0.1) * (2 * t - 1) / T**2)


SCHEDULES = {"vp": vp_betas, "cosine": cosine_betas, "linear": linear_betas}


@dataclass(frozen=True)
class Schedule:
    """A noise schedule and its posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7). All tensors `[T]`, float64."""

    betas: Tensor
    alphas_cumprod: Tensor
    posterior_variance: Tensor
    posterior_mean_coef1: Tensor  # of x_0
    posterior_mean_coef2: Tensor  # of x_t

    @property
    def T(self) -> int:
        return len(self.betas)


def make_schedule(name: str, T: int) -> Schedule:
    """The named schedule in T steps."""
    return from_betas(SCHEDULES[name](T))


def from_betas(betas: Tensor) -> Schedule:
    """All coefficients of the schedule with these betas `[T]`, each in (0, 1)."""
    alphas = 1 - betas
    abar = torch.cumprod(alphas, 0)
    previous = torch.cat([torch.ones(1, dtype=betas.dtype), abar[:-1]])
    return Schedule(
        betas=betas,
        alphas_cumprod=abar,
        posterior_variance=betas * (1 - previous) / (1 - abar),
        posterior_mean_coef1=betas * previous.sqrt() / (1 - abar),
        posterior_mean_coef2=(1 - previous) * alphas.sqrt() / (1 - abar),
    )
