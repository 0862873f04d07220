"""Diffusion in continuous time: the variance-preserving SDE (Song et al. 2021, arXiv 2011.13456; SRPO, 2310.07297).

At time t in (0, 1] an action is x = alpha_t a + sigma_t z, with b = 0.1, B = 20 and

    alpha_t = exp(-(B - b) t^2 / 4 - b t / 2),    sigma_t^2 = 1 - alpha_t^2.

Behaviour cloning is |eps(x, t, s) - z|^2 with t uniform above 1e-3. Sampling integrates the probability-flow ODE by
DPM-Solver-3 (policies/dpm_solver.py), and passes no gradient: from nearly pure noise a chain of clipped estimates has
hardly any. Q reaches the policy through one-step estimates and noised actions (improvements one-step, soft-guidance).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies import dpm_solver
from policies.base import NoisedSlope, NoisePrediction, over_dimensions
from policies.denoiser import DenoiserConfig, DenoiserNetwork
from policies.samplers import Denoiser

#: rate of the SDE at time 0 and at time 1
LOWEST_RATE, HIGHEST_RATE = 0.1, 20.0
#: earliest time in training
EARLIEST = 1e-3


def log_alpha(t: float) -> float:
    """log alpha at time t."""
    return -(HIGHEST_RATE - LOWEST_RATE) * t**2 / 4 - LOWEST_RATE * t / 2


def levels_at(t: float) -> tuple[float, float]:
    """alpha and sigma at time t."""
    return math.exp(log_alpha(t)), math.sqrt(-math.expm1(2 * log_alpha(t)))


def signal_and_noise(t: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and sigma at each time."""
    alpha = torch.exp(-(HIGHEST_RATE - LOWEST_RATE) * t.square() / 4 - LOWEST_RATE * t / 2)
    return alpha, (1 - alpha.square()).sqrt()


class SDEPolicy(DenoiserNetwork):
    """Network `[a_t, time features, s] -> eps`, bounded by clipping the sampled action to [-1, 1]."""

    reparameterised = False

    times: Tensor
    config: SDEConfig

    def __init__(self, config: SDEConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__(config, spec, network, init)
        self._plan(config)

    @property
    def forwards_per_action(self) -> int:
        return len(self.steps)

    def _plan(self, config: SDEConfig) -> None:
        self.groups = dpm_solver.plan(log_alpha, config.sample_steps, config.t_end)
        self.steps = [level.time for group in self.groups for level in group[:-1]]
        self._keep("times", torch.tensor(self.steps, dtype=torch.float64))

    def _noised(self, act: Tensor, rng: Rng, margin: float = 0.0) -> tuple[Tensor, NoisePrediction]:
        """Times `[S, B]`, and the action with noise of that level; its `noise` is the drawn one too."""
        first, last = (margin, 1 - margin) if margin else (EARLIEST, 1.0)
        t = rng.uniform(act.shape[1]) * (last - first) + first
        drawn = rng.normal(*act.shape[1:])
        alpha, sigma = signal_and_noise(t[..., None])
        return t, NoisePrediction(alpha * act + sigma * drawn, alpha, sigma, drawn, drawn)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t, noised = self._noised(act, rng)
        error = self.predict(noised.x, t, obs, rng) - noised.drawn
        return over_dimensions(error.square(), self.config.reduction)

    def predict_noise(self, obs: Tensor, act: Tensor, rng: Rng, margin: float = 0.0) -> NoisePrediction:
        t, noised = self._noised(act, rng, margin)
        return noised._replace(noise=self.predict(noised.x, t, obs))

    def predict_clean(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        x, alpha, sigma, noise, _ = self.predict_noise(obs, act, rng)
        return ((x - sigma * noise) / alpha).clamp(-1, 1)

    def _from_noise(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self._solve(self._denoiser(obs), noise[:, 0])

    def levels_drawn(self, size: int, rng: Rng) -> tuple[Tensor, Tensor]:
        return signal_and_noise(rng.uniform(size)[..., None] * (1 - EARLIEST) + EARLIEST)

    def tilted_sample(self, obs: Tensor, rng: Rng, slope: NoisedSlope) -> Tensor:
        plain = self._denoiser(obs)

        def tilted(x: Tensor, t: float) -> Tensor:
            alpha, sigma = levels_at(t)
            return plain(x, t) - sigma * slope(x, alpha, sigma)

        return self._solve(tilted, rng.normal(1, obs.shape[1], self.act_dim)[:, 0])

    def guided_sample(
        self,
        obs: Tensor,
        rng: Rng,
        gradient: Callable[[Tensor], Tensor],
        scale: float,
        through_denoiser: bool = False,
    ) -> Tensor:
        plain = self._denoiser(obs)

        def guided(x: Tensor, t: float) -> Tensor:
            alpha, sigma = levels_at(t)
            with torch.set_grad_enabled(through_denoiser):
                leaf = x.detach().requires_grad_() if through_denoiser else x
                noise = plain(leaf, t)
                clean = (leaf - sigma * noise) / alpha
                slope = gradient((clean.clamp(-1, 1) if self.config.clip else clean).detach())
                if through_denoiser:
                    (slope,) = torch.autograd.grad(clean, leaf, slope)
            # the clean action moves by sigma^2 / alpha times the slope, as in `samplers.guided`
            return noise - sigma * scale * slope

        return self._solve(guided, rng.normal(1, obs.shape[1], self.act_dim)[:, 0])

    def _solve(self, denoiser: Denoiser, noise: Tensor) -> Tensor:
        with torch.no_grad():
            return self.in_box(dpm_solver.solve(self._clipped(denoiser), self.groups, noise))

    def _clipped(self, denoiser: Denoiser) -> Denoiser:
        """The noise predicted, such that the clean action it amounts to is in the box."""
        if not self.config.clip:
            return denoiser

        def predict(x: Tensor, t: float) -> Tensor:
            alpha, sigma = levels_at(t)
            return (x - alpha * ((x - sigma * denoiser(x, t)) / alpha).clamp(-1, 1)) / sigma

        return predict

    def _denoiser(self, obs: Tensor) -> Denoiser:
        say = self.at_times(obs, self.times)
        place = {time: index for index, time in enumerate(self.steps)}
        return lambda x, t: say(x, place[t])


@dataclass(frozen=True)
class SDEConfig(DenoiserConfig):
    builds = SDEPolicy

    sample_steps: int = option(15, "passes of the sampler", at_least=1, sampling=True)
    t_end: float = option(1e-3, "time at which the sampler ends", above=0, at_most=0.5, sampling=True)
    time_dim: int = option(64, "number of features of the time, even", at_least=2)
    time_width: int | None = option(128, "outputs of each layer over the features", at_least=1)
    time_features: str = option(
        "fourier-fixed",
        "of the time: sines and cosines at fixed frequencies, in either order, or at learned or drawn frequencies",
        choices=("sinusoidal", "cosines-first", "fourier", "fourier-fixed"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grad_steps is not None:
            raise OptionError(f"grad_steps is of samplers that pass gradients; leave it out, got {self.grad_steps}")

    @property
    def reparameterised(self) -> bool:
        return False
