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

from core.options import OptionError

#: the most signal power alpha-bar_T a sampler starting from N(0, I) may overlook: at the edge of the box that start
#: is then -log(1 - 0.1) / 2 = 0.05 nats per action dimension from q(x_T | x_0); for linear at T = 5 it is 1.5
MOST_RESIDUAL_SIGNAL = 0.1


def linear_betas(T: int) -> Tensor:
    """Evenly spaced from 1e-4 to 2e-2 (Ho et al. 2020), *not* rescaled with T: nearly no noise at small T."""
    return torch.linspace(1e-4, 2e-2, T, dtype=torch.float64)


def rescaled_linear_betas(T: int) -> Tensor:
    """The 1000-step linear schedule in T steps: abar_T = exp(-10.05) for all T.

    beta_t = 1 - exp(-1000 / T * b), b the linear beta at the middle of the step. To first order that is 1000 / T
    times the linear beta (Nichol & Dhariwal 2021, section 4), which itself passes 1 for T below 20.
    """
    return _variance_preserving(T, 0.1, 20.0)


def sde_linear_betas(T: int) -> Tensor:
    """Evenly spaced from 0.1 / T to 20 / T, at most 0.999 (EDP, as released): `linear` at T = 1000."""
    return torch.linspace(0.1 / T, 20 / T, T, dtype=torch.float64).clamp(max=0.999)


def cosine_betas(T: int) -> Tensor:
    """abar from a squared cosine with offset 0.008, betas at most 0.999 (Nichol & Dhariwal 2021, eq. 17).

    As released with Diffusion-QL, the T + 1 grid points are spread over [0, 1] *inclusive*.
    """
    grid = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    return _capped(torch.cos((grid + 0.008) / 1.008 * math.pi / 2) ** 2)


def sigmoid_betas(T: int) -> Tensor:
    """abar from a sigmoid of temperature 1 between -3 and 3, scaled from 1 to 0; betas at most 0.999.

    Jabri et al. 2022 (arXiv 2212.11972), as in Chen 2023 (arXiv 2301.10972), algorithm 1.
    """
    curve = torch.sigmoid(torch.linspace(3, -3, T + 1, dtype=torch.float64))
    return _capped((curve - curve[-1]) / (curve[0] - curve[-1]))


def vp_betas(T: int) -> Tensor:
    """Variance-preserving SDE with beta from 0.1 to 10 (Diffusion-QL, appendix B): abar_T = exp(-5.05) for all T."""
    return _variance_preserving(T, 0.1, 10.0)


def _variance_preserving(T: int, lowest: float, highest: float) -> Tensor:
    """Betas of the SDE whose rate rises linearly over [0, 1] (Song et al. 2021, arXiv 2011.13456, eq. 32)."""
    t = torch.arange(1, T + 1, dtype=torch.float64)
    return 1 - torch.exp(-lowest / T - 0.5 * (highest - lowest) * (2 * t - 1) / T**2)


def _capped(abar: Tensor) -> Tensor:
    """Betas `[T]` of abar `[T + 1]` starting from no noise."""
    return (1 - abar[1:] / abar[:-1]).clamp(0, 0.999)


SCHEDULES = {
    "vp": vp_betas,
    "cosine": cosine_betas,
    "linear": linear_betas,
    "linear-rescaled": rescaled_linear_betas,
    "linear-sde": sde_linear_betas,
    "sigmoid": sigmoid_betas,
}


@dataclass(frozen=True)
class Schedule:
    """A noise schedule and its posterior q(x_{t-1} | x_t, x_0) (Ho et al. 2020, eq. 7). All tensors `[T]`, float64.

    A schedule may be a sub-sequence of the one a network was trained with; `steps` says which of its steps.
    """

    betas: Tensor
    alphas_cumprod: Tensor
    previous: Tensor  # abar_{t-1}, 1 before the first step
    posterior_variance: Tensor
    posterior_mean_coef1: Tensor  # of x_0
    posterior_mean_coef2: Tensor  # of x_t
    steps: Tensor  # int64

    @property
    def T(self) -> int:
        return len(self.betas)

    @property
    def log_snr(self) -> Tensor:
        """log of abar / (1 - abar), the ratio of powers; minus infinity where no signal is left."""
        return log_snr(self.alphas_cumprod)


def log_snr(abar: Tensor) -> Tensor:
    """Signal power against noise power, in nats; infinite at abar = 1 and minus infinity at 0."""
    return abar.log() - (-abar).log1p()


def make_schedule(name: str, T: int, zero_terminal_snr: bool = False) -> Schedule:
    """The named schedule in T steps, if asked for rescaled so that nothing of x_0 is left at the last."""
    schedule = from_betas(SCHEDULES[name](T))
    return rescale_to_zero_terminal_snr(schedule) if zero_terminal_snr else schedule


def from_betas(betas: Tensor) -> Schedule:
    """All coefficients of the schedule with these betas `[T]`, each in (0, 1]."""
    abar = torch.cumprod(1 - betas, 0)
    return _complete(betas, abar, _before(abar, 1.0), torch.arange(len(betas)))


def from_alphas_cumprod(abar: Tensor, end: float = 1.0, steps: Tensor | None = None) -> Schedule:
    """The schedule with these abar `[T]`, falling; a sampler ends at the level `end`, 1 being the data."""
    previous = _before(abar, end)
    return _complete(1 - abar / previous, abar, previous, torch.arange(len(abar)) if steps is None else steps)


def _before(abar: Tensor, end: float) -> Tensor:
    return torch.cat([torch.full((1,), end, dtype=abar.dtype), abar[:-1]])


def _complete(betas: Tensor, abar: Tensor, previous: Tensor, steps: Tensor) -> Schedule:
    return Schedule(
        betas=betas,
        alphas_cumprod=abar,
        previous=previous,
        posterior_variance=betas * (1 - previous) / (1 - abar),
        posterior_mean_coef1=betas * previous.sqrt() / (1 - abar),
        posterior_mean_coef2=(1 - previous) * (1 - betas).sqrt() / (1 - abar),
        steps=steps,
    )


def rescale_to_zero_terminal_snr(schedule: Schedule) -> Schedule:
    """sqrt(abar) shifted and scaled to end at 0 and keep its first value (Lin et al. 2024, arXiv 2305.08891, alg. 1).

    Raises `ValueError` for T = 1, where the first value is the last.
    """
    if schedule.T < 2:
        raise ValueError("one step cannot both keep its first value and end at 0")
    root = schedule.alphas_cumprod.sqrt()
    return from_alphas_cumprod(((root - root[-1]) / (root[0] - root[-1]) * root[0]).square())


def respace(schedule: Schedule, n: int) -> Schedule:
    """n of its T steps, evenly spaced from the end ("trailing" in Lin et al. 2024, table 2): T is always among them.

    The i-th is step round(i T / n) of 1..T. Raises `ValueError` unless 1 <= n <= T.
    """
    if not 1 <= n <= schedule.T:
        raise ValueError(f"n must lie between 1 and {schedule.T}, got {n}")
    if n == schedule.T:
        return schedule
    kept = torch.tensor([round(i * schedule.T / n) - 1 for i in range(1, n + 1)])
    return from_alphas_cumprod(schedule.alphas_cumprod[kept], schedule.previous[0].item(), schedule.steps[kept])


def refuse_residual_signal(name: str, steps: int) -> None:
    """Raise `OptionError` where the last of so many steps leaves much of the signal."""
    left = make_schedule(name, steps).alphas_cumprod[-1].item()
    if left > MOST_RESIDUAL_SIGNAL:
        raise OptionError(
            f"schedule {name} at T = {steps} leaves {left:.0%} of the signal (alpha-bar, at most "
            f"{MOST_RESIDUAL_SIGNAL:.0%}), so sampling would not start where training ends; use vp, "
            "cosine, sigmoid or linear-rescaled, or allow-residual-signal to have it as released"
        )
