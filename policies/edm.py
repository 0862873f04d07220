"""EDM policy: a diffusion over actions with continuous noise levels (Karras et al. 2022, arXiv 2206.00364).

Behaviour cloning is denoising at a log-normal noise level, L = E lambda(sigma) |D(a + sigma n; sigma, s) - a|^2 with
ln sigma ~ N(P_mean, P_std^2), in which lambda = 1 / c_out^2 makes it |F - (a - c_skip x) / c_out|^2 (eq. 8). Sampling
integrates the probability-flow ODE down rho-spaced levels, by Heun's method unless told otherwise.
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
from policies import chain, karras
from policies.base import NoisedSlope, NoisePrediction, over_dimensions
from policies.denoiser import DenoiserConfig, DenoiserNetwork


class EDMPolicy(DenoiserNetwork):
    """Network `[c_in a_sigma, features of c_noise, s] -> F`, bounded by clipping the last estimate to [-1, 1]."""

    times: Tensor
    coefficients: Tensor
    config: EDMConfig

    def __init__(self, config: EDMConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__(config, spec, network, init)
        self._plan(config)

    def _plan(self, config: EDMConfig) -> None:
        levels = karras.sigmas(config.sample_steps, config.sigma_min, config.sigma_max, config.rho)
        self.levels: list[float] = levels.tolist()
        # Heun's second evaluation is at the next level before churn raises it
        self.evaluated = list(dict.fromkeys([*karras.churned(self.levels, config.churn), *self.levels[1:-1]]))
        visited = torch.tensor(self.evaluated, dtype=torch.float64)
        scalings = karras.precondition(visited, config.sigma_data)
        self.scalings = torch.stack(scalings[:3], dim=1).tolist()
        self._keep("times", scalings.noise)
        self._keep("coefficients", karras.euler_coefficients(levels, config.sigma_data))
        self.draws = config.sample_steps if config.churn else 0

    @property
    def forwards_per_action(self) -> int:
        # the last of Heun's steps ends at noise 0, where there is nothing to correct with
        steps = len(self.levels) - 1
        return 2 * steps - 1 if self.config.sampler == "heun" else steps

    def denoise(self, x: Tensor, sigma: Tensor, obs: Tensor) -> Tensor:
        """D(x; sigma): x `[S, B, A]`, sigma `[S, B]`, obs `[S, B, O]` -> `[S, B, A]`, not clipped."""
        scale = karras.precondition(sigma[..., None], self.config.sigma_data)
        return scale.skip * x + scale.out * self.predict(scale.into * x, scale.noise[..., 0], obs)

    def _noised(self, act: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """A level `[S, B]` for each action, and the action with noise of that level."""
        sigma = self.levels_drawn(act.shape[1], rng)[1]
        return sigma[..., 0], act + sigma * rng.normal(*act.shape[1:])

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        sigma, x = self._noised(act, rng)
        scale = karras.precondition(sigma[..., None], self.config.sigma_data)
        error = self.predict(scale.into * x, scale.noise[..., 0], obs, rng) - (act - scale.skip * x) / scale.out
        return over_dimensions(error.square(), self.config.reduction)

    def predict_noise(self, obs: Tensor, act: Tensor, rng: Rng, margin: float = 0.0) -> NoisePrediction:
        sigma, x = self._noised(act, rng)
        deviation = sigma[..., None]
        noise = (x - self.denoise(x, sigma, obs)) / deviation
        return NoisePrediction(x, torch.ones_like(deviation), deviation, noise, (x - act) / deviation)

    def predict_clean(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        sigma, x = self._noised(act, rng)
        return self.denoise(x, sigma, obs).clamp(-1, 1)

    def _from_noise(self, obs: Tensor, noise: Tensor) -> Tensor:
        # a chain that is not cut short, since a step of the fused one starts in other coordinates
        whole = self.config.grad_steps in (None, self.config.sample_steps)
        fused = chain.covers(self.net) and not chain.asked_for_slope(noise)
        if fused and whole and self.config.sampler == "euler" and not self.config.churn:
            start = self.levels[0] * self.scalings[0][2] * noise
            return self.in_box(self._fused_chain(obs, self.times, start, self.coefficients))
        return self._integrate(self._denoiser(obs), noise)

    def levels_drawn(self, size: int, rng: Rng) -> tuple[Tensor, Tensor]:
        sigma = (self.config.p_mean + self.config.p_std * rng.normal(size)).exp()[..., None]
        return torch.ones_like(sigma), sigma

    def tilted_sample(self, obs: Tensor, rng: Rng, slope: NoisedSlope) -> Tensor:
        noise = rng.normal(self.draws + 1, obs.shape[1], self.act_dim)
        return self._integrate(karras.tilted(self._denoiser(obs), slope), noise)

    def guided_sample(
        self,
        obs: Tensor,
        rng: Rng,
        gradient: Callable[[Tensor], Tensor],
        scale: float,
        through_denoiser: bool = False,
    ) -> Tensor:
        noise = rng.normal(self.draws + 1, obs.shape[1], self.act_dim)
        config, clip = self.config, 1.0 if self.config.clip else None
        plain = self._denoiser(obs)
        denoiser = karras.guided(plain, config.sigma_data, gradient, scale, clip, through_denoiser)
        return self._integrate(denoiser, noise)

    def _integrate(self, denoiser: karras.Denoiser, noise: Tensor) -> Tensor:
        config, clip = self.config, 1.0 if self.config.clip else None
        second_order = config.sampler == "heun"
        x = karras.sample(denoiser, self.levels, noise, second_order, config.churn, clip, config.grad_steps)
        return self.in_box(x)

    def _denoiser(self, obs: Tensor) -> karras.Denoiser:
        """D given obs `[S, B, O]`, at the levels of the sampler, with all that they share computed once."""
        say = self.at_times(obs, self.times)
        place = {sigma: index for index, sigma in enumerate(self.evaluated)}

        def denoise(x: Tensor, sigma: float) -> Tensor:
            index = place[sigma]
            skip, out, into = self.scalings[index]
            return skip * x + out * say(into * x, index)

        return denoise


@dataclass(frozen=True)
class EDMConfig(DenoiserConfig):
    builds = EDMPolicy

    sampler: str = option("heun", "how the ODE is integrated", choices=("heun", "euler"), sampling=True)
    sample_steps: int = option(18, "noise levels of the sampler", at_least=1, sampling=True)
    churn: float = option(0.0, "S_churn: noise added afresh while sampling, 0 for none", at_least=0, sampling=True)
    # the paper's 0.5 is about the deviation of actions that fill the box: 0.58 if uniform, 0.8 for the bandit's
    sigma_data: float = option(0.5, "deviation of the actions, that inputs and targets are scaled by", above=0)
    sigma_min: float = option(0.002, "lowest noise level of the sampler", above=0, sampling=True)
    sigma_max: float = option(80.0, "highest noise level of the sampler", above=0, sampling=True)
    rho: float = option(7.0, "spacing of the levels: 1 even, more is finer near the action", at_least=1, sampling=True)
    p_mean: float = option(-1.2, "mean of ln sigma in training")
    p_std: float = option(1.2, "deviation of ln sigma in training", above=0)

    @property
    def deterministic(self) -> bool:
        return self.churn == 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigma_min >= self.sigma_max:
            raise OptionError(f"sigma_min must be less than sigma_max = {self.sigma_max}, got {self.sigma_min}")
        if self.grad_steps is not None and self.grad_steps > self.sample_steps:
            raise OptionError(
                f"grad_steps must be at most the sampler's {self.sample_steps} steps, got {self.grad_steps}"
            )
