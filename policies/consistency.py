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

Consistency-AC as released (arXiv 2309.16984) has options for what it does otherwise: the lower level is the average's,
levels grow in number over training, F sees x as it is beside features of sigma, and the sampler's levels are even.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import OptionError, option
from core.rng import Rng
from core.time_features import TimeEmbedding
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig

#: deviation of the data, about, and of the smallest noise
SIGMA_DATA, SIGMA_MIN = 0.5, 0.002
#: how much closer the levels lie where noise is small (Karras et al. 2022, arXiv 2206.00364, eq. 5)
RHO = 7.0
HUBER = 0.00054
#: where the even levels of a sampler end (Consistency-AC, as released)
EVEN_MIN = 2.0


class ConsistencyPolicy(Policy):
    """Network F `[c_in x, log(sigma) / 4, s] -> [A]`; every answer of f that is sampled is clipped to the box.

    With input `raw` F sees `[x, features of sigma, s]`.
    """

    sigmas: Tensor
    count: Tensor

    def __init__(
        self, config: ConsistencyConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.config, self.act_dim = config, spec.act_dim
        self.changes_by_step = config.growth is not None
        self._teacher: tuple[ConsistencyPolicy, ...] = ()
        self.sampling_sigmas = sampling_levels(config)
        lead, raw = (len(init),), config.input == "raw"
        self.time = TimeEmbedding(lead, config.time_dim, init) if raw else None
        features = config.time_dim if raw else 1
        self.net = MLP(lead, spec.act_dim + features + spec.obs_dim, spec.act_dim, network, init)
        # kept in float64 whatever the parameters are: the loss divides by differences of neighbours
        self.register_buffer("sigmas", noise_levels(config.levels, config.sigma_max), persistent=False)
        #: levels in training at this step, where they grow; on the device, as a replayed step reads it
        self.register_buffer("count", torch.tensor(2.0, dtype=torch.float64), persistent=False)

    @property
    def forwards_per_action(self) -> int:
        return len(self.sampling_sigmas)

    def at_step(self, step: int) -> None:
        steps = self.config.growth
        if steps is not None:
            grown = step % steps if self.config.growth_again else min(step, steps)
            self.count.fill_(levels_at(grown, steps, self.config.levels))

    def follow(self, average: Policy) -> None:
        if self.config.follows_average:
            assert isinstance(average, ConsistencyPolicy)
            # in a tuple, so as not to become a part of this one
            self._teacher = (average,)

    def denoise(self, x: Tensor, sigma: Tensor, obs: Tensor) -> Tensor:
        """f: x `[S, B, A]`, sigma `[S, B]`, obs `[S, B, O]` -> the action its path starts from, `[S, B, A]`."""
        level = sigma
        sigma = sigma[..., None]
        norm = (sigma.square() + SIGMA_DATA**2).sqrt()
        skip = SIGMA_DATA**2 / ((sigma - SIGMA_MIN).square() + SIGMA_DATA**2)
        out = SIGMA_DATA * (sigma - SIGMA_MIN) / norm
        seen = [x / norm, sigma.log() / 4] if self.time is None else [x, self.time(level)]
        return skip * x + out * self.net(torch.cat([*seen, obs], dim=-1))

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        low, high = self._neighbours(act.shape[1], rng)
        noise = rng.normal(*act.shape[1:])
        gap = (1 / (high - low)).to(act.dtype) if self.config.weighting == "inverse-gap" else 1.0
        low, high = low.to(act.dtype), high.to(act.dtype)
        (teacher,) = self._teacher or (self,)
        with torch.no_grad():
            target = teacher.denoise(act + low[..., None] * noise, low, obs)
        error = self.denoise(act + high[..., None] * noise, high, obs) - target
        distance = pseudo_huber(error) if self.config.loss == "pseudo-huber" else error.square().mean(-1)
        return self.config.loss_scale * gap * distance

    def _neighbours(self, size: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Two neighbouring noise levels for each of `size` examples, float64 `[S, B]`."""
        if self.config.growth is None:
            level = rng.integers(len(self.sigmas) - 1, size)
            return self.sigmas[level], self.sigmas[level + 1]
        level = (rng.uniform(size).double() * (self.count - 1)).floor()
        low, high = SIGMA_MIN ** (1 / RHO), self.config.sigma_max ** (1 / RHO)
        return self._rooted(low, high, level), self._rooted(low, high, level + 1)

    def _rooted(self, low: float, high: float, level: Tensor) -> Tensor:
        return (low + level / (self.count - 1) * (high - low)) ** RHO

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        """Multistep sampling (2303.01469, algorithm 1): denoise, add noise of the next, lower level, and again."""
        noise = rng.normal(len(self.sampling_sigmas), obs.shape[1], self.act_dim)
        x = torch.zeros_like(noise[:, 0])
        for i, sigma in enumerate(self.sampling_sigmas):
            # a denoised action carries noise of the smallest level already; the start is noise alone
            added = math.sqrt(sigma**2 - SIGMA_MIN**2) if i else sigma
            noisy = x + added * noise[:, i]
            x = self.denoise(noisy, x.new_full(x.shape[:-1], sigma), obs)
            x = x.clamp(-1, 1) if self.config.clip else x
        return x.clamp(-1, 1)


def noise_levels(count: int, sigma_max: float) -> Tensor:
    """`count` deviations rising from SIGMA_MIN to `sigma_max`, evenly spaced in their RHO-th root; float64."""
    ends = SIGMA_MIN ** (1 / RHO), sigma_max ** (1 / RHO)
    return torch.linspace(*ends, count, dtype=torch.float64) ** RHO


def sampling_levels(config: ConsistencyConfig) -> list[float]:
    """The falling levels of the sampler's passes: those of `noise_levels`, or even ones down to EVEN_MIN."""
    if config.spacing == "even":
        return torch.linspace(EVEN_MIN, config.sigma_max, config.steps, dtype=torch.float64).flip(0).tolist()
    return noise_levels(config.steps + 1, config.sigma_max).flip(0)[:-1].tolist()


def levels_at(step: int, steps: int, most: int) -> int:
    """How many levels there are at a step of `steps`, from 2 to `most` (2303.01469, appendix C, as released)."""
    return math.ceil(math.sqrt(step * (most**2 - 4) / steps + 4) - 1) + 1


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
    weighting: str = option(
        "inverse-gap", "of each pair of levels: 1 over their difference, or none", choices=("inverse-gap", "none")
    )
    loss_scale: float = option(1.0, "factor on the loss (Consistency-AC, as released: 100)", above=0)
    teacher: str = option(
        "itself", "whose answer at the lower level is followed: the policy's, or its average's (Consistency-AC)",
        choices=("itself", "average"),
    )  # fmt: skip
    growth: int | None = option(
        None, "steps over which the levels grow from 2 to their number (default: all from the start)", at_least=1
    )
    growth_again: bool = option(False, "after so many steps they grow again (Consistency-AC, as released)")
    input: str = option(
        "scaled", "of the network: scaled to unit variance, or the noised action as it is and features of the noise",
        choices=("scaled", "raw"),
    )  # fmt: skip
    time_dim: int = option(16, "number of features of the noise for input raw, even", at_least=2)
    spacing: str = option(
        "boundaries", "of the sampler's levels: as those of training, or even from 2 up (Consistency-AC, as released)",
        choices=("boundaries", "even"), sampling=True,
    )  # fmt: skip
    clip: bool = option(True, "keep each pass's action in [-1, 1], not the last alone", sampling=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spacing == "even" and self.sigma_max <= EVEN_MIN:
            raise OptionError(f"sigma_max must be greater than {EVEN_MIN:g} with spacing even, got {self.sigma_max}")
        if self.time_dim % 2:
            raise OptionError(f"time_dim must be even, got {self.time_dim}")

    @property
    def follows_average(self) -> bool:
        return self.teacher == "average"
