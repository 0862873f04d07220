"""Gaussian policy: one mode, diagonal covariance, mean and log-deviation from one network.

With `bound = "tanh"` the Gaussian lies before a tanh, which keeps every action in (-1, 1) and adds the log of
its derivative to the density (SAC, arXiv 1812.05905, appendix C). With `bound = "none"` *nothing* keeps actions inside
[-1, 1]: that is the Gaussian of Diffusion-QL's toy comparison, and a third of its samples leave the box. With
`bound = "mean"` the mean is a tanh and the Gaussian around it is not squashed, and with `deviation = "shared"` its
log-deviations are parameters, the same for all states: together IQL's policy, as released (arXiv 2110.06169).
Behaviour cloning is the negative log-likelihood, summed over action dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import PolicyConfig, TractablePolicy, repeated
from policies.densities import LOG_STD_MAX, LOG_STD_MIN, normal_log_density, preimage, squash


class GaussianPolicy(TractablePolicy):
    def __init__(self, config: GaussianConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.bounded, self.bounded_mean = config.bound == "tanh", config.bound == "mean"
        shared = config.deviation == "shared"
        outputs = spec.act_dim if shared else 2 * spec.act_dim
        self.net = MLP((len(init),), spec.obs_dim, outputs, network, init)
        self.log_std = nn.Parameter(torch.zeros(len(init), spec.act_dim)) if shared else None

    def _mean_and_log_std(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        if self.log_std is None:
            mean, log_std = self.net(obs).chunk(2, dim=-1)
        else:
            mean = self.net(obs)
            log_std = self.log_std[:, None].expand_as(mean)
        return mean.tanh() if self.bounded_mean else mean, log_std.clamp(LOG_STD_MIN, LOG_STD_MAX)

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        mean, log_std = self._mean_and_log_std(obs)
        raw, log_slope = preimage(act, self.bounded)
        return normal_log_density(raw, mean, log_std) - log_slope

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(obs, act)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.sample_each(obs, 1, rng).squeeze(2)

    def sample_each(self, obs: Tensor, count: int, rng: Rng) -> Tensor:
        mean, log_std = (repeated(each, count) for each in self._mean_and_log_std(obs))
        raw = mean + log_std.exp() * rng.normal(*mean.shape[1:])
        return squash(raw, self.bounded).unflatten(1, (-1, count))

    def mode(self, obs: Tensor) -> Tensor:
        mean, _ = self._mean_and_log_std(obs)
        return squash(mean, self.bounded)


@dataclass(frozen=True)
class GaussianConfig(PolicyConfig):
    builds = GaussianPolicy

    bound: str = option(
        "tanh",
        "what keeps actions in [-1, 1]: tanh of the sample, or of the mean alone (IQL), or none as in the paper",
        choices=("tanh", "mean", "none"),
    )
    deviation: str = option(
        "network", "of each state, by the network, or shared by all states (IQL)", choices=("network", "shared")
    )
