"""Consistency policy: consistency training, with no diffusion teacher (Song et al. 2023, arXiv 2303.01469, section 5).

Under noise of deviation sigma an action a becomes x = a + sigma z. The consistency function takes it, in one pass, to
the start (sigma = eps) of the path through x of the probability-flow ODE:

    f(x, sigma, s) = c_skip x + c_out F(c_in x, log(sigma) / 4, s),    c_skip = d^2 / ((sigma - eps)^2 + d^2),
    c_out = d (sigma - eps) / sqrt(sigma^2 + d^2),    c_in = 1 / sqrt(sigma^2 + d^2)

(appendix C there; d = 0.5, eps = 0.002), so f(x, eps) = x. Neighbouring levels must agree on one action and one z; the
lower one is taken as it is, by a stop-gradient with no EMA, and weighted as in arXiv 2310.14189 (table 1):

    L = E |f(a + sigma_{n+1} z, sigma_{n+1}, s) - stopgrad f(a + sigma_n z, sigma_n, s)|^2 / (sigma_{n+1} - sigma_n)

with n uniform. The error is squared and averaged over dimensions by default. The other choice is pseudo-Huber,
sqrt(|.|^2 + c^2) - c, which 2310.14189 uses on images: it goes to a median of the lower level's answers, where the
path is followed by their mean, and so gets the modes of a low-dimensional density wrong (one of weight 0.3 got 0.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig

#: deviation of the data, about, and of the smallest noise
SIGMA_DATA, SIGMA_MIN = 0.5, 0.002
#: how much closer the levels lie where noise is small (Karras et al. 2022, arXiv 2206.00364, eq. 5)
RHO = 7.0
HUBER = 0.00054


class ConsistencyPolicy(Policy):
    """Network F `[c_in x, log(sigma) / 4, s] -> [A]`; every answer of f that is sampled is clipped to the box."""

    sigmas: Tensor

    def __init__(
        self, config: ConsistencyConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.act_dim, self.loss = spec.act_dim, config.loss
        self.sampling_sigmas = noise_levels(config.steps + 1, config.sigma_max).flip(0)[:-1].tolist()
        self.net = MLP((len(init),), spec.act_dim + 1 + spec.obs_dim, spec.act_dim, network, init)
        # kept in float64 whatever the parameters are: the loss divides by differences of neighbours
        self.register_buffer("sigmas", noise_levels(config.levels, config.sigma_max), persistent=False)

    @property
    def forwards_per_action(self) -> int:
        return len(self.sampling_sigmas)

    def denoise(self, x: Tensor, sigma: Tensor, obs: Tensor) -> Tensor:
        """f: x `[S, B, A]`, sigma `[S, B]`, obs `[S, B, O]` -> the action its path starts from, `[S, B, A]`."""
        sigma = sigma[..., None]
        norm = (sigma.square() + SIGMA_DATA**2).sqrt()
        skip = SIGMA_DATA**2 / ((sigma - SIGMA_MIN).square() + SIGMA_DATA**2)
        out = SIGMA_DATA * (sigma - SIGMA_MIN) / norm
        return skip * x + out * self.net(torch.cat([x / norm, sigma.log() / 4, obs], dim=-1))

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        level = rng.integers(len(self.sigmas) - 1, act.shape[1])
        noise = rng.normal(*act.shape[1:])
        low, high = self.sigmas[level], self.sigmas[level + 1]
        weight = (1 / (high - low)).to(act.dtype)
        low, high = low.to(act.dtype), high.to(act.dtype)
        with torch.no_grad():
            target = self.denoise(act + low[..., None] * noise, low, obs)
        error = self.denoise(act + high[..., None] * noise, high, obs) - target
        return weight * (pseudo_huber(error) if self.loss == "pseudo-huber" else error.square().mean(-1))

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        """Multistep sampling (2303.01469, algorithm 1): denoise, add noise of the next, lower level, and again."""
        noise = rng.normal(len(self.sampling_sigmas), obs.shape[1], self.act_dim)
        x = torch.zeros_like(noise[:, 0])
        for i, sigma in enumerate(self.sampling_sigmas):
            # a denoised action carries noise of the smallest level already; the start is noise alone
            added = math.sqrt(sigma**2 - SIGMA_MIN**2) if i else sigma
            noisy = x + added * noise[:, i]
            x = self.denoise(noisy, x.new_full(x.shape[:-1], sigma), obs).clamp(-1, 1)
        return x


def noise_levels(count: int, sigma_max: float) -> Tensor:
    """`count` deviations rising from SIGMA_MIN to `sigma_max`, evenly spaced in their RHO-th root; float64."""
    ends = SIGMA_MIN ** (1 / RHO), sigma_max ** (1 / RHO)
    return torch.linspace(*ends, count, dtype=torch.float64) ** RHO


def pseudo_huber(error: Tensor) -> Tensor:
    """sqrt(|error|^2 + c^2) - c, `[..., A] -> [...]`: the norm, with a slope at zero (2310.14189, eq. 7)."""
    c = HUBER * math.sqrt(error.shape[-1])
    return (error.square().sum(-1) + c**2).sqrt() - c


@dataclass(frozen=True)
class ConsistencyConfig(PolicyConfig):
    builds = ConsistencyPolicy

    steps: int = option(2, "passes of the sampler", at_least=1, sampling=True)
    levels: int = option(80, "noise levels in training; their neighbours must agree", at_least=2)
    # 80, as for images, is 160 deviations of an action: levels where there is nothing to learn, and each costs accuracy
    sigma_max: float = option(5.0, "largest noise, in actions' units; published for images: 80", at_least=0.1)
    loss: str = option("l2", "of the difference between neighbours", choices=("l2", "pseudo-huber"))
