"""Diffusion policy: a DDPM over actions given the observation (Diffusion-QL, arXiv 2208.06193, section 3).

Behaviour cloning is noise prediction, L = E |eps - eps_theta(sqrt(abar_t) a + sqrt(1 - abar_t) eps, t, s)|^2
(eq. 2 there), with t uniform. Sampling is ancestral, with gradient through all T steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.fusion import fused
from core.mish import mish
from core.networks import MLP, NetworkConfig, TimeEmbedding, affine
from core.options import OptionError, option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig
from policies.chain import run_chain
from policies.samplers import Denoiser, ddpm, ddpm_coefficients
from policies.schedules import SCHEDULES, make_schedule


class DiffusionPolicy(Policy):
    """Noise network `[a_t, time features, s] -> eps`, bounded by clipping each prediction of x_0 to [-1, 1]."""

    alphas_cumprod: Tensor

    def __init__(
        self, config: DiffusionConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        lead = (len(init),)
        self.act_dim, self.time_dim = spec.act_dim, config.time_dim
        self.schedule = make_schedule(config.schedule, config.T)
        self.time = TimeEmbedding(lead, config.time_dim, init)
        self.net = MLP(lead, spec.act_dim + config.time_dim + spec.obs_dim, spec.act_dim, network, init)
        # kept in float64 whatever the parameters are, so that no precision of the schedule is lost
        self.register_buffer("alphas_cumprod", self.schedule.alphas_cumprod, persistent=False)

    @property
    def forwards_per_action(self) -> int:
        return self.schedule.T

    def predict_noise(self, x: Tensor, t: Tensor, obs: Tensor) -> Tensor:
        """x `[S, B, A]`, t `[S, B]`, obs `[S, B, O]` -> eps `[S, B, A]`."""
        return self.net(torch.cat([x, self.time(t), obs], dim=-1))

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        t = rng.integers(self.schedule.T, act.shape[1])
        noise = rng.normal(*act.shape[1:])
        abar = self.alphas_cumprod[t][..., None]
        x = abar.sqrt().to(act.dtype) * act + (1 - abar).sqrt().to(act.dtype) * noise
        return (self.predict_noise(x, t, obs) - noise).square().mean(-1)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        noise = rng.normal(self.schedule.T + 1, obs.shape[1], self.act_dim)
        if fused() and self.net.activation is mish and torch.is_grad_enabled():
            return self._fused_sample(obs, noise)
        return ddpm(self.denoiser(obs), self.schedule, noise)

    def _fused_sample(self, obs: Tensor, noise: Tensor) -> Tensor:
        """`ddpm` as one operation."""
        of_act, at_time, at_obs = self._first_layer(obs)
        layers = self.net.layers[1:]
        coefficients = ddpm_coefficients(self.schedule).to(noise)
        weights = [of_act, *(layer.weight for layer in layers)]
        biases = [layer.bias for layer in layers]
        return run_chain(noise, coefficients, 1.0, at_obs, at_time.flip(1), weights, biases).clamp(-1, 1)

    def denoiser(self, obs: Tensor) -> Denoiser:
        """The noise model given obs `[S, B, O]`, with all that a chain's steps share computed once."""
        of_act, at_time, at_obs = self._first_layer(obs)

        def predict(x: Tensor, t: int) -> Tensor:
            context = at_obs + at_time[:, t, None]
            return self.net.tail(torch.baddbmm(context, x, of_act))

        return predict

    def _first_layer(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its weight for x, and its output for each of the T times `[S, T, h]` and each observation `[S, B, h]`.

        The layer is linear in its three inputs, so each part is a product of its own, made once for a chain.
        """
        first = self.net.layers[0]
        sizes = [self.act_dim, self.time_dim, obs.shape[-1]]
        of_act, of_time, of_obs = (part.contiguous() for part in first.weight.split(sizes, dim=-2))
        steps = torch.arange(self.schedule.T, device=obs.device).expand(obs.shape[0], -1)
        return of_act, self.time(steps) @ of_time, affine(obs, of_obs, first.bias)


@dataclass(frozen=True)
class DiffusionConfig(PolicyConfig):
    builds = DiffusionPolicy

    T: int = option(5, "diffusion steps", at_least=1)
    schedule: str = option("vp", "noise schedule", choices=tuple(SCHEDULES))
    time_dim: int = option(16, "size of the time embedding, even", at_least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.time_dim % 2:
            raise OptionError(f"time_dim must be even, got {self.time_dim}")
