"""Continuous noise levels (Karras et al. 2022, arXiv 2206.00364, "EDM"): preconditioning, levels, and samplers.

x = a + sigma n at noise level sigma. A network F becomes a denoiser with well-scaled inputs and outputs (eq. 7):

    D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)

A denoiser here maps (x `[S, B, A]`, sigma, a number) to D, the estimate of the clean action. The probability-flow
ODE is dx / dsigma = (x - D) / sigma (eq. 1). Plain functions; all noise is an argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from policies.base import NoisedSlope

Denoiser = Callable[[Tensor, float], Tensor]

#: the most churn may raise a level by in one step (algorithm 2)
MOST_CHURN = math.sqrt(2) - 1


class Preconditioning(NamedTuple):
    """Table 1, column "ours", elementwise in sigma."""

    skip: Tensor
    out: Tensor
    into: Tensor
    noise: Tensor


def precondition(sigma: Tensor, data: float) -> Preconditioning:
    """The four scalings at level sigma for data of deviation `data`: F's inputs and targets have unit variance."""
    total = (sigma.square() + data**2).sqrt()
    return Preconditioning((data / total).square(), sigma * data / total, 1 / total, sigma.log() / 4)


def sigmas(n: int, lowest: float, highest: float, rho: float) -> Tensor:
    """n falling noise levels, evenly spaced in sigma^(1 / rho) from `highest` to `lowest`, and 0 (eq. 5). `[n + 1]`."""
    ramp = torch.linspace(0, 1, n, dtype=torch.float64)
    levels = (highest ** (1 / rho) + ramp * (lowest ** (1 / rho) - highest ** (1 / rho))) ** rho
    return torch.cat([levels, torch.zeros(1, dtype=torch.float64)])


def churned(levels: Sequence[float], churn: float) -> list[float]:
    """The level each step is raised to before it is taken, `[n]` for levels `[n + 1]` (algorithm 2, lines 4-5)."""
    steps = len(levels) - 1
    return [level * (1 + min(churn / steps, MOST_CHURN)) for level in levels[:-1]]


def sample(
    denoiser: Denoiser,
    levels: Sequence[float],
    noise: Tensor,
    second_order: bool = True,
    churn: float = 0.0,
    clip: float | None = 1.0,
    grad_steps: int | None = None,
) -> Tensor:
    """Heun (order 2) or Euler (order 1), deterministic (algorithm 1) or with `churn` S_churn > 0 (algorithm 2).

    As in algorithm 2 with S_noise = 1 and churn at every level; more churn is more like the reverse SDE. `noise`
    `[S, 1, B, A]`: the start, of unit deviation; with churn `[S, n + 1, B, A]`. A last step to level 0 is an Euler step
    in either. With `clip` each estimate of the action is kept in [-clip, clip]. Gradients pass through the last
    `grad_steps` steps (None: through all). Returns `[S, B, A]`.
    """
    x = levels[0] * noise[:, 0]
    raised = churned(levels, churn)
    free = 0 if grad_steps is None else len(raised) - grad_steps
    for index, (level, start, end) in enumerate(zip(levels[:-1], raised, levels[1:], strict=True)):
        with torch.set_grad_enabled(torch.is_grad_enabled() and index >= free):
            if start > level:
                x = x + math.sqrt(start**2 - level**2) * noise[:, index + 1]
            slope = _slope(denoiser, x, start, clip)
            after = x + (end - start) * slope
            if second_order and end > 0:
                after = x + (end - start) / 2 * (slope + _slope(denoiser, after, end, clip))
            x = after
    return x


def _slope(denoiser: Denoiser, x: Tensor, sigma: float, clip: float | None) -> Tensor:
    clean = denoiser(x, sigma)
    return (x - (clean if clip is None else clean.clamp(-clip, clip))) / sigma


def euler_coefficients(levels: Tensor, data: float) -> Tensor:
    """The Euler sampler in the form of policies/samplers.py, `[n, 5]`, in coordinates in which it has that form.

    The network sees y = c_in x, so that is what a step takes and returns: clean = (c_skip / c_in) y + c_out F, then
    y' = c_in' ((1 - sigma' / sigma) clean + sigma' / sigma y / c_in). The last step returns x itself. The chain starts
    from y = c_in x at the first level.
    """
    start, end = levels[:-1], levels[1:]
    skip, out, into, _ = precondition(start, data)
    into_next = torch.cat([into[1:], torch.ones(1, dtype=levels.dtype)])
    ratio = end / start
    return torch.stack([skip / into, out, into_next * (1 - ratio), into_next * ratio / into, 0 * out], dim=1)


def guided(
    denoiser: Denoiser,
    data: float,
    gradient: Callable[[Tensor], Tensor],
    scale: float,
    clip: float | None = 1.0,
    through_denoiser: bool = False,
) -> Denoiser:
    """A denoiser moved towards a tilt of the data's density by exp(scale Q), `gradient` being that of Q.

    The score (D - x) / sigma^2 becomes that plus g, so D' = D + sigma^2 g; `through_denoiser` has
    g = scale (dD / dx)^T gradient(D), as `policies.samplers.guided`. Without, dD / dx is that of data of deviation
    `data`, c_skip, and D' = D + scale c_out^2 gradient(D): bounded however high the level, where clipping alone would
    bound sigma^2, and with coarse levels Heun's method overshoots. Either is exact for such Gaussian data and a linear
    Q, the former for any Gaussian.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        with torch.set_grad_enabled(through_denoiser or torch.is_grad_enabled()):
            leaf = x.detach().requires_grad_() if through_denoiser else x
            clean = denoiser(leaf, sigma)
            slope = gradient((clean if clip is None else clean.clamp(-clip, clip)).detach())
            if through_denoiser:
                (slope,) = torch.autograd.grad(clean, leaf, slope)
        strength = sigma**2 if through_denoiser else (sigma * data) ** 2 / (sigma**2 + data**2)
        return clean + scale * strength * slope

    return denoise


def tilted(denoiser: Denoiser, slope: NoisedSlope) -> Denoiser:
    """A denoiser with g = slope(x) added to the score (D - x) / sigma^2, exactly: D' = D + sigma^2 g."""
    return lambda x, sigma: denoiser(x, sigma) + sigma**2 * slope(x, 1.0, sigma)
