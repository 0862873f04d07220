"""Samplers: a denoiser, a schedule and noise -> actions. Plain functions; all noise is an argument.

A denoiser maps (x `[S, B, A]`, step t counted from 0) to the predicted noise `[S, B, A]`.
"""

from __future__ import annotations

from collections.abc import Callable

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
    for drawn, t in enumerate(reversed(range(schedule.T)), start=1):
        x = ddpm_step(denoiser, schedule, x, t, noise[:, drawn], clip)
    return x if clip is None else x.clamp(-clip, clip)


def ddpm_step(
    denoiser: Denoiser, schedule: Schedule, x: Tensor, t: int, noise: Tensor, clip: float | None = 1.0
) -> Tensor:
    """One draw from q(x_{t-1} | x_t, x_0 as predicted); at t = 0 its mean. Shapes `[S, B, A]`."""
    abar = schedule.alphas_cumprod[t].item()
    x0 = x * (1 / abar) ** 0.5 - denoiser(x, t) * (1 / abar - 1) ** 0.5
    if clip is not None:
        x0 = x0.clamp(-clip, clip)
    mean = schedule.posterior_mean_coef1[t].item() * x0 + schedule.posterior_mean_coef2[t].item() * x
    if t == 0:
        return mean
    return mean + schedule.posterior_variance[t].item() ** 0.5 * noise
