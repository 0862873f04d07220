"""Samplers: a denoiser, a schedule and noise -> actions. Plain functions; all noise is an argument.

A denoiser maps (x `[S, B, A]`, step t of the network, counted from 0) to what it predicts, `[S, B, A]`: epsilon, x0
or v (policies/targets.py). Every sampler here is linear in that, so a sampler *is* its coefficients, five for each
step, and six where it also looks back at the last prediction of x_0:

    x0 = c0 x + c1 predicted         x <- c2 clip(x0) + c3 x + c4 noise [+ c5 (clip(x0) of the step before)]

Below, alpha = sqrt(abar), sigma = sqrt(1 - abar), lambda = log(alpha / sigma); a prime marks the level stepped to, and
h = lambda' - lambda > 0. Order means global order in h against the exact solution, down to a level above the data: the
last step, to sigma' = 0, is x0 itself in all of them, whose error is of the order of the last sigma^2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from policies.base import NoisedSlope
from policies.schedules import Schedule, log_snr
from policies.targets import to_clean

Denoiser = Callable[[Tensor, float], Tensor]


def ddpm_coefficients(schedule: Schedule, target: str = "epsilon") -> Tensor:
    """A draw from q(x_{t-1} | x_t, x_0 as predicted) (Ho et al. 2020, algorithm 2), weak order 1. From T - 1 to 0.

    At t = 0 it is the mean alone. Returns `[T, 5]`.
    """
    return _chain_order(
        *to_clean(target, schedule.alphas_cumprod),
        schedule.posterior_mean_coef1,
        schedule.posterior_mean_coef2,
        schedule.posterior_variance.sqrt(),
    )


def released_ddpm_coefficients(
    schedule: Schedule, target: str = "epsilon", mean: str = "posterior", variance: str = "posterior"
) -> Tensor:
    """DDPM with the choices of releases. `[T, 5]`.

    variance `beta`: noise of variance beta_t, the upper of the two that Ho et al. 2020 (section 3.2) allow. mean
    `clean`: x0 itself for the posterior's mean (QSM in ColinQiyangLi/qam), which samples no diffusion's density.
    """
    c0, c1, c2, c3, c4 = ddpm_coefficients(schedule, target).unbind(1)
    if variance == "beta":
        c4 = schedule.betas.flip(0).sqrt() * (c4 > 0)
    if mean == "clean":
        c2, c3 = torch.ones_like(c2), torch.zeros_like(c3)
    return torch.stack([c0, c1, c2, c3, c4], dim=1)


def ddim_coefficients(schedule: Schedule, target: str = "epsilon", eta: float = 0.0) -> Tensor:
    """DDIM (Song et al. 2021, arXiv 2010.02502, eq. 12 and 16): order 1 for eta = 0, DDPM for eta = 1. `[T, 5]`.

    eps is that of the *clipped* x0, so that x stays consistent with it.
    """
    abar, previous = schedule.alphas_cumprod, schedule.previous
    deviation = eta * ((1 - previous) / (1 - abar) * schedule.betas).sqrt()
    of_x = ((1 - previous - deviation.square()).clamp(min=0) / (1 - abar)).sqrt()
    return _chain_order(*to_clean(target, abar), previous.sqrt() - of_x * abar.sqrt(), of_x, deviation)


def dpm_solver_1_coefficients(schedule: Schedule, target: str = "epsilon") -> Tensor:
    """DPM-Solver++(1) (Lu et al. 2022, arXiv 2211.01095, eq. 9 with k = 1): order 1, and DDIM(0) by another road."""
    return _dpm_solver(schedule, target, stochastic=False)


def dpm_solver_2m_coefficients(schedule: Schedule, target: str = "epsilon") -> Tensor:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): order 2. `[T, 6]`."""
    return _two_step(schedule, _dpm_solver(schedule, target, stochastic=False))


def sde_dpm_solver_1_coefficients(schedule: Schedule, target: str = "epsilon") -> Tensor:
    """SDE-DPM-Solver++(1) (Lu et al. 2022, section 5): weak order 1, and DDPM by another road. `[T, 5]`."""
    return _dpm_solver(schedule, target, stochastic=True)


def sde_dpm_solver_2m_coefficients(schedule: Schedule, target: str = "epsilon") -> Tensor:
    """SDE-DPM-Solver++(2M) (Lu et al. 2022, section 5): order 2 in the moments of Gaussian data. `[T, 6]`."""
    return _two_step(schedule, _dpm_solver(schedule, target, stochastic=True))


#: name -> its coefficients; only ddim has an eta
SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "ddpm": ddpm_coefficients,
    "ddim": ddim_coefficients,
    "dpm++1": dpm_solver_1_coefficients,
    "dpm++2m": dpm_solver_2m_coefficients,
    "sde-dpm++1": sde_dpm_solver_1_coefficients,
    "sde-dpm++2m": sde_dpm_solver_2m_coefficients,
}
#: those that draw no noise after the first (ddim as long as its eta is 0)
DETERMINISTIC = ("ddim", "dpm++1", "dpm++2m")


def _dpm_solver(schedule: Schedule, target: str, stochastic: bool) -> Tensor:
    """x' = sigma'/sigma e^{-kh} x + alpha' (1 - e^{-(1+k)h}) x0 + sigma' sqrt(1 - e^{-2kh}) noise; k: 0 ODE, 1 SDE."""
    abar, previous, k = schedule.alphas_cumprod, schedule.previous, int(stochastic)
    h = _step_sizes(schedule)
    # e^{-0 h} is 1 also where h is infinite, at a level of no noise or no signal
    decay = torch.exp(-h) if stochastic else torch.ones_like(h)
    of_x = ((1 - previous) / (1 - abar)).sqrt() * decay
    of_clean = -previous.sqrt() * torch.expm1(-(1 + k) * h)
    return _chain_order(*to_clean(target, abar), of_clean, of_x, ((1 - previous) * (1 - decay.square())).sqrt())


def _two_step(schedule: Schedule, one_step: Tensor) -> Tensor:
    """x0 in each step extrapolated to its middle from the step before: x0 + h / (2 h_before) (x0 - x0_before).

    The first step has none before it and the last, of infinite h, cannot be extrapolated over: they stay as they are.
    """
    h = _step_sizes(schedule).flip(0)
    reach = torch.zeros_like(h)
    reach[1:] = torch.where(h[1:].isfinite(), h[1:] / (2 * h[:-1]), 0)
    c0, c1, c2, c3, c4 = one_step.unbind(1)
    return torch.stack([c0, c1, c2 * (1 + reach), c3, c4, -c2 * reach], dim=1)


def _step_sizes(schedule: Schedule) -> Tensor:
    return (log_snr(schedule.previous) - schedule.log_snr) / 2


def _chain_order(*columns: Tensor) -> Tensor:
    return torch.stack(columns, dim=1).flip(0)


def ddpm(denoiser: Denoiser, schedule: Schedule, noise: Tensor, clip: float | None = 1.0) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) with a network that predicts epsilon, as released.

    `noise` `[S, T + 1, B, A]`: the initial x, then one draw for each step from T - 1 down to 0 (the last is
    drawn, as released, and not used). With `clip`, each prediction of x_0 and the result are kept in
    [-clip, clip], and no gradient passes where the prediction left the box. Returns `[S, B, A]`.
    """
    return sample(denoiser, schedule, ddpm_coefficients(schedule), noise, clip)


def sample(
    denoiser: Denoiser,
    schedule: Schedule,
    coefficients: Tensor,
    noise: Tensor,
    clip: float | None = 1.0,
    grad_steps: int | None = None,
) -> Tensor:
    """Any sampler of `SAMPLERS` by its `coefficients` `[n, 5 or 6]` for `schedule` of n steps; see `ddpm`.

    A deterministic one needs no more noise than the initial x, `[S, 1, B, A]`.
    """
    steps = schedule.steps.flip(0).tolist()
    x = run(denoiser, steps, coefficients.tolist(), noise, clip, grad_steps)
    return x if clip is None else x.clamp(-clip, clip)


def run(
    denoiser: Denoiser,
    steps: Sequence[float],
    rows: Sequence[Sequence[float]],
    noise: Tensor,
    clip: float | None,
    grad_steps: int | None = None,
    clip_steps: float | None = None,
) -> Tensor:
    """The given steps, one after another. Gradients pass through the last `grad_steps` of them (None: through all).

    With `clip_steps` x is kept in [-clip_steps, clip_steps] after each.
    """
    x, before = noise[:, 0], None
    free = 0 if grad_steps is None else len(steps) - grad_steps
    for index, (t, c) in enumerate(zip(steps, rows, strict=True)):
        with torch.set_grad_enabled(torch.is_grad_enabled() and index >= free):
            drawn = noise[:, index + 1] if c[4] else None
            predicted = denoiser(x, t)
            if len(c) == 5:
                x = step(predicted, x, drawn, c, clip)
            else:
                x, before = two_step(predicted, x, drawn, c, clip, before)
            x = x if clip_steps is None else x.clamp(-clip_steps, clip_steps)
    return x


def step(predicted: Tensor, x: Tensor, noise: Tensor | None, c: Sequence[float], clip: float | None = 1.0) -> Tensor:
    """One step, linear in what the network says: x0 = c0 x + c1 predicted, then c2 x0 + c3 x + c4 noise."""
    x = c[2] * clean(predicted, x, c, clip) + c[3] * x
    return x if noise is None else x + c[4] * noise


def two_step(
    predicted: Tensor, x: Tensor, noise: Tensor | None, c: Sequence[float], clip: float | None, before: Tensor | None
) -> tuple[Tensor, Tensor]:
    """One step that also uses the prediction of x_0 `before` it; returns the next x and this step's prediction."""
    x0 = clean(predicted, x, c, clip)
    x = c[2] * x0 + c[3] * x
    x = x if before is None else x + c[5] * before
    return (x if noise is None else x + c[4] * noise), x0


def clean(predicted: Tensor, x: Tensor, c: Sequence[float], clip: float | None) -> Tensor:
    """The prediction of x_0, clipped."""
    x0 = c[0] * x + c[1] * predicted
    return x0 if clip is None else x0.clamp(-clip, clip)


def guided(
    denoiser: Denoiser,
    schedule: Schedule,
    target: str,
    gradient: Callable[[Tensor], Tensor],
    scale: float,
    clip: float | None = 1.0,
    through_denoiser: bool = False,
) -> Denoiser:
    """A denoiser whose x_0 is moved towards a tilt of the data's density by exp(scale Q), `gradient` being that of Q.

    Tilted by a factor whose log has gradient g in x_t, the score -eps / sigma becomes -eps / sigma + g, so
    eps' = eps - sigma g (Dhariwal & Nguyen 2021, arXiv 2105.05233, algorithm 2) and x_0' = x_0 + sigma^2 / alpha g.
    Here g = scale gradient(x_0): cheap, right in direction, but it takes d x_0 / d x_t for 1, so noisy levels are
    pushed too far where the data are narrow. `through_denoiser` takes g through that derivative instead, at the cost
    of a backward pass (Chung et al. 2023, arXiv 2209.14687): exact for Gaussian data and a linear Q. At abar = 0, x_t
    says nothing of x_0 and g is 0. `schedule` is the network's own, with all T steps.
    """
    abar = schedule.alphas_cumprod
    strengths = torch.where(abar > 0, (1 - abar) / abar.sqrt(), 0)
    rows = torch.stack([*to_clean(target, abar), scale * strengths], dim=1).tolist()

    def predict(x: Tensor, t: float) -> Tensor:
        # a continuous time (policies/dpm_solver.py) is guided as the step below it
        c0, c1, strength = rows[max(math.floor(t), 0)]
        with torch.set_grad_enabled(through_denoiser or torch.is_grad_enabled()):
            leaf = x.detach().requires_grad_() if through_denoiser else x
            predicted = denoiser(leaf, t)
            slope = gradient(clean(predicted, leaf, (c0, c1), clip).detach())
            if through_denoiser:
                (slope,) = torch.autograd.grad(c0 * leaf + c1 * predicted, leaf, slope)
        # through what the network says, so that any sampler can be guided
        return predicted + strength / c1 * slope

    return predict


def tilted(denoiser: Denoiser, schedule: Schedule, target: str, slope: NoisedSlope) -> Denoiser:
    """A denoiser with g = slope(x_t) added to the score, exactly: x_0' = x_0 + sigma^2 / alpha g, as in `guided`."""
    abar = schedule.alphas_cumprod
    columns = [to_clean(target, abar)[1], abar.sqrt(), (1 - abar).sqrt()]
    rows = torch.stack(columns, dim=1).tolist()

    def predict(x: Tensor, t: float) -> Tensor:
        # a continuous time (policies/dpm_solver.py) is tilted as the step below it
        c1, alpha, sigma = rows[max(math.floor(t), 0)]
        predicted = denoiser(x, t)
        return predicted if not alpha else predicted + sigma**2 / (alpha * c1) * slope(x, alpha, sigma)

    return predict
