"""Mixture density network (Bishop 1994): M diagonal Gaussians, weights, means and log-deviations from one network.

    log p(a | s) = logsumexp_m( log w_m(s) + log N(u; mean_m(s), diag std_m(s)^2) ) - sum_A log(1 - tanh(u)^2)

with a = tanh(u), or u = a and no last term with `bound = "none"` (as in gaussian.py). Behaviour cloning is the negative
log-likelihood, summed over action dimensions.

Sampling picks a component by the Gumbel-max trick, so components come up with exactly their weights. The choice has no
derivative; a straight-through Gumbel-softmax gives it that of softmax((log w + gumbel) / temperature) instead (Jang et
al. 2017, arXiv 1611.01144, section 2.2). So the gradient of the chosen component's mean and deviation is exact, and
that of the weights is biased: less as the temperature falls to 0, while its variance grows without bound.
Axes: M components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import PolicyConfig, TractablePolicy, repeated
from policies.densities import LOG_STD_MAX, LOG_STD_MIN, normal_log_density, preimage, squash


class MixturePolicy(TractablePolicy):
    def __init__(self, config: MixtureConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.bounded, self.temperature = config.bound == "tanh", config.temperature
        self.sizes = [config.components, config.components * spec.act_dim, config.components * spec.act_dim]
        self.net = MLP((len(init),), spec.obs_dim, sum(self.sizes), network, init)
        self._spread_means(init)

    @torch.no_grad()
    def _spread_means(self, init: Sequence[torch.Generator]) -> None:
        """Start the means uniform over the box of actions: components that start alike learn alike, and stay merged."""
        weights, means, _ = self.sizes
        for bias, generator in zip(self.net.layers[-1].bias, init, strict=True):
            bias[weights : weights + means].uniform_(-1, 1, generator=generator)

    def components(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights `[S, B, M]`, means and log-deviations (before any tanh) `[S, B, M, A]` at obs `[S, B, O]`."""
        logits, mean, log_std = self.net(obs).split(self.sizes, dim=-1)
        shape = (self.sizes[0], -1)
        log_std = log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)
        return logits.log_softmax(-1), mean.unflatten(-1, shape), log_std.unflatten(-1, shape)

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        log_weight, mean, log_std = self.components(obs)
        raw, log_slope = preimage(act, self.bounded)
        return torch.logsumexp(log_weight + normal_log_density(raw[..., None, :], mean, log_std), -1) - log_slope

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(obs, act)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.sample_each(obs, 1, rng).squeeze(2)

    def sample_each(self, obs: Tensor, count: int, rng: Rng) -> Tensor:
        log_weight, mean, log_std = (repeated(each, count) for each in self.components(obs))
        chosen = straight_through_choice(log_weight, rng.uniform(*log_weight.shape[1:]), self.temperature)
        noise = rng.normal(mean.shape[1], mean.shape[-1])
        raw = (chosen[..., None] * (mean + log_std.exp() * noise[..., None, :])).sum(-2)
        return squash(raw, self.bounded).unflatten(1, (-1, count))

    def mode(self, obs: Tensor) -> Tensor:
        """Mean of the heaviest component: the mode where components lie apart and are about as wide as each other."""
        log_weight, mean, _ = self.components(obs)
        heaviest = log_weight.argmax(-1)[..., None, None]
        return squash(mean.take_along_dim(heaviest, dim=-2).squeeze(-2), self.bounded)


def straight_through_choice(log_weight: Tensor, uniform: Tensor, temperature: float) -> Tensor:
    """One of M, one-hot, with probability exp(log_weight), and the softmax's derivative; all `[..., M]`."""
    tiny = torch.finfo(uniform.dtype).tiny
    gumbel = -torch.log(-torch.log(uniform.clamp(min=tiny)))
    soft = ((log_weight + gumbel) / temperature).softmax(-1)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


@dataclass(frozen=True)
class MixtureConfig(PolicyConfig):
    builds = MixturePolicy

    components: int = option(5, "Gaussians in the mixture (M)", at_least=1)
    bound: str = option("tanh", "what keeps actions in [-1, 1]: tanh, or none", choices=("tanh", "none"))
    temperature: float = option(1.0, "of the softmax that gives the choice of a component its gradient", above=0)
