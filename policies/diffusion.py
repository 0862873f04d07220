"""Diffusion policy: a DDPM over actions given the observation (Diffusion-QL, arXiv 2208.06193, section 3).

Behaviour cloning is denoising, L = E w_t |y - y_theta(sqrt(abar_t) a + sqrt(1 - abar_t) eps, t, s)|^2 with t uniform.
As released the target y is eps and w = 1 (eq. 2 there), and sampling is ancestral, with gradient through all T steps.
Schedule, target, weighting and sampler are each a choice: policies/schedules.py, targets.py, samplers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies import chain
from policies.denoiser import DenoiserConfig, DenoiserNetwork
from policies.samplers import DETERMINISTIC, SAMPLERS, Denoiser, guided, run
from policies.schedules import MOST_RESIDUAL_SIGNAL, SCHEDULES, make_schedule, respace
from policies.targets import TARGETS, WEIGHTINGS, loss_weights, shares, to_clean


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
        return len(self.rows)

    def _plan(self, config: DiffusionConfig) -> None:
        schedule = respace(self.schedule, config.sample_steps or config.T)
        eta = (config.eta,) if config.sampler == "ddim" else ()
        coefficients = SAMPLERS[config.sampler](schedule, config.target, *eta)
        self._keep("coefficients", coefficients)
        self._keep("times", schedule.steps.flip(0))
        # the same as plain numbers, for a chain run step by step
        self.rows, self.steps = coefficients.tolist(), schedule.steps.flip(0).tolist()
        self.draws = 0 if config.deterministic else schedule.T

    def _noised(self, act: Tensor, rng: Rng) -> tuple[Tensor, Tensor, Tensor, Sequence[Tensor]]:
        """t `[S, B]`, eps and x_t `[S, B, A]` and the other columns of `levels` at t, each `[S, B, 1]`."""
        t = rng.integers(self.schedule.T, act.shape[1])
        noise = rng.normal(*act.shape[1:])
        alpha, sigma, *others = self.levels[t].split(1, dim=-1)
        return t, noise, alpha * act + sigma * noise, others

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t, noise, x, (of_clean, of_noise, _, _, weight) = self._noised(act, rng)
        error = self.predict(x, t, obs) - (of_clean * act + of_noise * noise)
        return (weight * error.square()).mean(-1)

    def predict_clean(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t, _, x, (_, _, c0, c1, _) = self._noised(act, rng)
        return (c0 * x + c1 * self.predict(x, t, obs)).clamp(-1, 1)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        noise = rng.normal(self.draws + 1, obs.shape[1], self.act_dim)
        grad_steps = self.config.grad_steps
        free = 0 if grad_steps is None else len(self.steps) - grad_steps
        if not chain.covers(self.net) or self.coefficients.shape[1] > 5 or free == len(self.steps):
            return run(self.denoiser(obs), self.steps, self.rows, noise, self._clip(), grad_steps).clamp(-1, 1)
        if free:
            with torch.no_grad():
                x = run(self.denoiser(obs), self.steps[:free], self.rows[:free], noise, self._clip())
            noise = torch.cat([x[:, None], noise[:, free + 1 :]], dim=1)
        return self._fused_chain(obs, self.times[free:], noise, self.coefficients[free:]).clamp(-1, 1)

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
        return run(denoiser, self.steps, self.rows, noise, self._clip(), self.config.grad_steps).clamp(-1, 1)

    def _clip(self) -> float | None:
        return 1.0 if self.config.clip else None

    def denoiser(self, obs: Tensor) -> Denoiser:
        """The network given obs `[S, B, O]`, at the steps of its sampler, with all that they share computed once."""
        of_act, at_time, at_obs = self._first_layer(obs, self.times)
        place = {t: index for index, t in enumerate(self.steps)}

        def predict(x: Tensor, t: int) -> Tensor:
            context = at_obs + at_time[:, place[t], None]
            return self.net.tail(torch.baddbmm(context, x, of_act))

        return predict


@dataclass(frozen=True)
class DiffusionConfig(DenoiserConfig):
    builds = DiffusionPolicy

    T: int = option(5, "diffusion steps", at_least=1)
    schedule: str = option("vp", "noise schedule", choices=tuple(SCHEDULES))
    zero_terminal_snr: bool = option(False, "rescale the schedule so that its last step is noise alone")
    allow_residual_signal: bool = option(False, "accept a schedule that does not end near noise, as released")
    target: str = option("epsilon", "what the network predicts", choices=tuple(TARGETS))
    weighting: str = option("uniform", "weight of each noise level in the loss", choices=tuple(WEIGHTINGS))
    min_snr_gamma: float = option(5.0, "where weighting min-snr caps the signal-to-noise ratio", above=0)
    sampler: str = option("ddpm", "how actions are drawn", choices=tuple(SAMPLERS), sampling=True)
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
        if self.eta and self.sampler != "ddim":
            raise OptionError(f"eta is of sampler ddim, and {self.sampler} has none; leave it out, or use sampler ddim")
        if self.min_snr_gamma != 5.0 and self.weighting != "min-snr":
            raise OptionError(f"min_snr_gamma is of weighting min-snr, and {self.weighting} has none; leave it out")
        if self.zero_terminal_snr:
            self._refuse_with_zero_terminal_snr()
        elif not self.allow_residual_signal:
            self._refuse_residual_signal()

    @property
    def deterministic(self) -> bool:
        """Whether sampling draws no noise after the first."""
        return self.sampler in DETERMINISTIC and self.eta == 0

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

    def _refuse_residual_signal(self) -> None:
        left = make_schedule(self.schedule, self.T).alphas_cumprod[-1].item()
        if left > MOST_RESIDUAL_SIGNAL:
            raise OptionError(
                f"schedule {self.schedule} at T = {self.T} leaves {left:.0%} of the signal (alpha-bar, at most "
                f"{MOST_RESIDUAL_SIGNAL:.0%}), so sampling would not start where training ends; use vp, "
                "cosine, sigmoid or linear-rescaled, or allow-residual-signal to have it as released"
            )
