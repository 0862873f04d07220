"""Diffusion policy: a DDPM over actions given the observation (Diffusion-QL, arXiv 2208.06193, section 3).

Behaviour cloning is denoising, L = E w_t |y - y_theta(sqrt(abar_t) a + sqrt(1 - abar_t) eps, t, s)|^2 with t uniform.
As released the target y is eps and w = 1 (eq. 2 there), and sampling is ancestral, with gradient through all T steps.
Schedule, target, weighting and sampler are each a choice: policies/schedules.py, targets.py, samplers.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies import chain, dpm_solver
from policies.base import NoisedSlope, NoisePrediction, over_dimensions
from policies.denoiser import DenoiserConfig, DenoiserNetwork
from policies.samplers import DETERMINISTIC, SAMPLERS, Denoiser, guided, released_ddpm_coefficients, run, tilted
from policies.schedules import SCHEDULES, make_schedule, refuse_residual_signal, respace
from policies.targets import TARGETS, WEIGHTINGS, convert, loss_weights, shares, to_clean

#: the sampler in continuous time, policies/dpm_solver.py
CONTINUOUS = "dpm-3s"


class DiffusionPolicy(DenoiserNetwork):
    """Network `[a_t, time features, s] -> target`, bounded by clipping the last prediction of x_0 to [-1, 1]."""

    levels: Tensor
    times: Tensor
    coefficients: Tensor
    config: DiffusionConfig

    def __init__(
        self, config: DiffusionConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__(config, spec, network, init)
        self.schedule = make_schedule(config.schedule, config.T, config.zero_terminal_snr)
        abar = self.schedule.alphas_cumprod
        weights = loss_weights(config.weighting, config.target, abar, config.min_snr_gamma)
        of_level = [abar.sqrt(), (1 - abar).sqrt(), *shares(config.target, abar), *to_clean(config.target, abar)]
        # worked out in float64, so that nothing is lost before it takes the dtype of the parameters
        self._keep("levels", torch.stack([*of_level, weights], dim=1))
        self._plan(config)

    @property
    def forwards_per_action(self) -> int:
        return len(self.steps)

    def _plan(self, config: DiffusionConfig) -> None:
        if config.sampler == CONTINUOUS:
            self._plan_in_time(config)
            return
        schedule = respace(self.schedule, config.sample_steps or config.T)
        options: tuple[Any, ...] = (config.eta,) if config.sampler == "ddim" else ()
        sampler = SAMPLERS[config.sampler]
        if config.sampler == "ddpm":
            sampler, options = released_ddpm_coefficients, (config.ddpm_mean, config.ddpm_variance)
        coefficients = sampler(schedule, config.target, *options)
        again = config.last_again
        coefficients = torch.cat([coefficients, coefficients[-1:].expand(again, -1)])
        # as plain numbers too, for a chain run step by step
        self.steps: list[float] = schedule.steps.flip(0).tolist() + schedule.steps[:1].tolist() * again
        self.rows = coefficients.tolist()
        self._keep("coefficients", coefficients)
        self._keep("times", torch.tensor(self.steps, dtype=torch.int64))
        self.draws = 0 if config.deterministic else len(self.steps)

    def _plan_in_time(self, config: DiffusionConfig) -> None:
        """For DPM-Solver, whose times lie between the network's steps: `steps` are the times as it counts them."""
        log_alpha = dpm_solver.piecewise(self.schedule)
        self.groups = dpm_solver.plan(log_alpha, config.sample_steps or config.T, config.t_end)
        times = [level.time for group in self.groups for level in group[:-1]]
        self.steps = [self._as_step(time) for time in times]
        self._keep("times", torch.tensor(self.steps, dtype=torch.float64))
        self.draws = 0

    def _as_step(self, time: float) -> float:
        return (time - 1 / self.schedule.T) * self.schedule.T

    def _noised(self, act: Tensor, rng: Rng) -> tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]:
        """t `[S, B]`, eps and x_t `[S, B, A]` and the other columns of `levels` at t, each `[S, B, 1]`."""
        t = rng.integers(self.schedule.T, act.shape[1])
        noise = rng.normal(*act.shape[1:])
        alpha, sigma, *others = self.levels[t].split(1, dim=-1)
        return t, noise, alpha * act + sigma * noise, others

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t, noise, x, (of_clean, of_noise, _, _, weight) = self._noised(act, rng)
        error = self.predict(x, t, obs, rng) - (of_clean * act + of_noise * noise)
        return over_dimensions(weight * error.square(), self.config.reduction)

    def predict(self, x: Tensor, time: Tensor, obs: Tensor, rng: Rng | None = None) -> Tensor:
        return super().predict(x, time + self.config.first_step, obs, rng)

    def predict_noise(self, obs: Tensor, act: Tensor, rng: Rng, margin: float = 0.0) -> NoisePrediction:
        t, drawn, x, _ = self._noised(act, rng)
        alpha, sigma = self.levels[t].split(1, dim=-1)[:2]
        noise = convert(self.predict(x, t, obs), x, alpha.square(), self.config.target, "epsilon")
        return NoisePrediction(x, alpha, sigma, noise, drawn)

    def predict_clean(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t, _, x, (_, _, c0, c1, _) = self._noised(act, rng)
        return (c0 * x + c1 * self.predict(x, t, obs)).clamp(-1, 1)

    def _from_noise(self, obs: Tensor, noise: Tensor) -> Tensor:
        grad_steps = self.config.grad_steps
        free = 0 if grad_steps is None else len(self.steps) - grad_steps
        alone = self.config.sampler == CONTINUOUS or self.config.clip_steps or self.coefficients.shape[1] > 5
        if alone or not chain.covers(self.net) or free == len(self.steps) or chain.asked_for_slope(noise):
            return self._run(self.denoiser(obs), noise)
        if free:
            with torch.no_grad():
                x = run(self.denoiser(obs), self.steps[:free], self.rows[:free], noise, self._clip())
            noise = torch.cat([x[:, None], noise[:, free + 1 :]], dim=1)
        # the network counts its steps from `first_step`
        times = self.times[free:] + self.config.first_step
        return self.in_box(self._fused_chain(obs, times, noise, self.coefficients[free:]))

    def _run(self, denoiser: Denoiser, noise: Tensor) -> Tensor:
        """The chain, step by step."""
        config, clip = self.config, self._clip()
        if config.sampler == CONTINUOUS:
            with torch.set_grad_enabled(torch.is_grad_enabled() and config.grad_steps != 0):
                return self.in_box(dpm_solver.solve(self._kept_in_box(denoiser), self.groups, noise[:, 0]))
        clip_steps = 1.0 if config.clip_steps else None
        return self.in_box(run(denoiser, self.steps, self.rows, noise, clip, config.grad_steps, clip_steps))

    def _kept_in_box(self, denoiser: Denoiser) -> Denoiser:
        """The noise predicted at a time of the solver, such that the clean action it amounts to is in the box."""
        abar = self.schedule.alphas_cumprod.tolist()

        def predict(x: Tensor, time: float) -> Tensor:
            step = self._as_step(time)
            noise, level = denoiser(x, step), abar[max(math.floor(step), 0)]
            if not self.config.clip:
                return noise
            alpha, sigma = math.sqrt(level), math.sqrt(1 - level)
            return (x - alpha * ((x - sigma * noise) / alpha).clamp(-1, 1)) / sigma

        return predict

    def levels_drawn(self, size: int, rng: Rng) -> tuple[Tensor, Tensor]:
        alpha, sigma = self.levels[rng.integers(self.schedule.T, size)].split(1, dim=-1)[:2]
        return alpha, sigma

    def tilted_sample(self, obs: Tensor, rng: Rng, slope: NoisedSlope) -> Tensor:
        noise = rng.normal(self.draws + 1, obs.shape[1], self.act_dim)
        return self._run(tilted(self.denoiser(obs), self.schedule, self.config.target, slope), noise)

    def guided_sample(
        self,
        obs: Tensor,
        rng: Rng,
        gradient: Callable[[Tensor], Tensor],
        scale: float,
        through_denoiser: bool = False,
    ) -> Tensor:
        noise = rng.normal(self.draws + 1, obs.shape[1], self.act_dim)
        denoiser = guided(
            self.denoiser(obs), self.schedule, self.config.target, gradient, scale, self._clip(), through_denoiser
        )
        return self._run(denoiser, noise)

    def _clip(self) -> float | None:
        return 1.0 if self.config.clip else None

    def denoiser(self, obs: Tensor) -> Denoiser:
        """The network given obs `[S, B, O]`, at the steps of its sampler, with all that they share computed once."""
        say = self.at_times(obs, self.times + self.config.first_step)
        place = {t: index for index, t in enumerate(self.steps)}
        return lambda x, t: say(x, place[t])


@dataclass(frozen=True)
class DiffusionConfig(DenoiserConfig):
    builds = DiffusionPolicy

    T: int = option(5, "diffusion steps", at_least=1)
    first_step: int = option(0, "number by which the network knows the first step", at_least=0, at_most=1)
    schedule: str = option("vp", "noise schedule", choices=tuple(SCHEDULES))
    zero_terminal_snr: bool = option(False, "rescale the schedule so that its last step is noise alone")
    allow_residual_signal: bool = option(False, "accept a schedule that does not end near noise, as released")
    target: str = option("epsilon", "what the network predicts", choices=tuple(TARGETS))
    weighting: str = option("uniform", "weight of each noise level in the loss", choices=tuple(WEIGHTINGS))
    min_snr_gamma: float = option(5.0, "where weighting min-snr caps the signal-to-noise ratio", above=0)
    sampler: str = option("ddpm", "how actions are drawn", choices=(*SAMPLERS, CONTINUOUS), sampling=True)
    ddpm_mean: str = option(
        "posterior",
        "of each step of sampler ddpm: the posterior's mean, or the clean action as predicted (QSM, as released)",
        choices=("posterior", "clean"),
        sampling=True,
    )
    ddpm_variance: str = option(
        "posterior", "of each step of sampler ddpm (IDQL: beta)", choices=("posterior", "beta"), sampling=True
    )
    clip_steps: bool = option(False, "keep x in [-1, 1] after each step of the sampler (IDQL)", sampling=True)
    last_again: int = option(0, "how often the last step is taken again (IDQL's M)", at_least=0, sampling=True)
    t_end: float = option(1e-3, "time of 1 at which sampler dpm-3s ends", above=0, at_most=0.5, sampling=True)
    sample_steps: int | None = option(
        None, "steps of the sampler, evenly spaced from the last (default: T)", at_least=1, sampling=True
    )
    eta: float = option(0.0, "noise of sampler ddim: 0 none, 1 that of ddpm", at_least=0, at_most=1, sampling=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.sample_steps or self.T
        if steps > self.T:
            raise OptionError(f"sample_steps must be at most T = {self.T}, got {steps}")
        if self.grad_steps is not None and self.grad_steps > steps:
            raise OptionError(f"grad_steps must be at most the sampler's {steps} steps, got {self.grad_steps}")
        self._refuse_of_another_sampler()
        if self.eta and self.sampler != "ddim":
            raise OptionError(f"eta is of sampler ddim, and {self.sampler} has none; leave it out, or use sampler ddim")
        if self.min_snr_gamma != 5.0 and self.weighting != "min-snr":
            raise OptionError(f"min_snr_gamma is of weighting min-snr, and {self.weighting} has none; leave it out")
        if self.zero_terminal_snr:
            self._refuse_with_zero_terminal_snr()
        elif not self.allow_residual_signal:
            refuse_residual_signal(self.schedule, self.T)

    def _refuse_of_another_sampler(self) -> None:
        if self.sampler == CONTINUOUS:
            if self.target != "epsilon":
                raise OptionError(f"sampler {CONTINUOUS} needs target epsilon, got target {self.target!r}")
            if self.grad_steps:
                raise OptionError(f"grad_steps must be 0 or left out with sampler {CONTINUOUS}, got {self.grad_steps}")
            if self.clip_steps or self.last_again:
                raise OptionError(f"sampler {CONTINUOUS} has neither clip_steps nor last_again; leave them out")
            dpm_solver.refuse_end(self.schedule, self.T, self.t_end)
        if self.sampler != "ddpm" and (self.ddpm_mean, self.ddpm_variance) != ("posterior", "posterior"):
            raise OptionError(f"ddpm_mean and ddpm_variance are of sampler ddpm, got sampler {self.sampler!r}")

    @property
    def deterministic(self) -> bool:
        return self.sampler == CONTINUOUS or (self.sampler in DETERMINISTIC and self.eta == 0)

    def _refuse_with_zero_terminal_snr(self) -> None:
        if self.T < 2:
            raise OptionError("zero_terminal_snr needs T of at least 2, got 1")
        if self.target == "epsilon":
            raise OptionError(
                "zero_terminal_snr cannot be had with target epsilon: at the last step, noise alone, x0 cannot be "
                "recovered from it; use target v or x0"
            )
        if self.weighting != "uniform":
            raise OptionError(
                f"zero_terminal_snr cannot be had with weighting {self.weighting}, which gives the last step, where "
                "sampling begins, weight 0; use weighting uniform"
            )
