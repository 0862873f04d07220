"""Samplers: a denoiser, a schedule and noise -> actions. Plain functions; all noise is an argument.

A denoiser maps (x `[S, B, A]`, step t counted from 0) to the predicted noise `[S, B, A]`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from policies.schedules import Schedule

Denoiser = Callable[[Tensor, int], Tensor]


def ddpm(denoiser: Denoiser, schedule: Schedule, noise: Tensor, clip: float | None = 1.0) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2), differentiable through the whole chain.

    `noise` `[S, T + 1, B, A]`: the initial x, then one draw for each step from T - 1 down to 0 (the last is
    drawn, as released, and not used). With `clip`, each prediction of x_0 and the result are kept in
    [-clip, clip], and no gradient passes where the prediction left the box. Returns `[S, B, A]`.
    """
    x = noise[:, 0]
    for drawn, (t, c) in enumerate(
        zip(reversed(range(schedule.T)), ddpm_coefficients(schedule).tolist(), strict=True), 1
    ):
        x = step(denoiser(x, t), x, noise[:, drawn], c, clip)
    return x if clip is None else x.clamp(-clip, clip)


def ddpm_coefficients(schedule: Schedule) -> Tensor:
    """The five numbers of each step, from T - 1 down to 0, `[T, 5]`: a draw from q(x_{t-1} | x_t, x_0 as predicted).

    At t = 0 it is the mean alone.
    """
    abar = schedule.alphas_cumprod
    deviation = schedule.posterior_variance.sqrt()
    deviation[0] = 0
    rows = [
        (1 / abar).sqrt(),
        -(1 / abar - 1).sqrt(),
        schedule.posterior_mean_coef1,
        schedule.posterior_mean_coef2,
        deviation,
    ]
    return torch.stack(rows, dim=1).flip(0)


def step(predicted: Tensor, x: Tensor, noise: Tensor, c: Sequence[float], clip: float | None = 1.0) -> Tensor:
    """One step, linear in what the network says: x0 = c0 x + c1 predicted, then c2 x0 + c3 x + c4 noise."""
    x0 = c[0] * x + c[1] * predicted
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
    return c[2] * x0 + c[3] * x + c[4] * noise
