"""Normalizing flow: coupling layers of splines carry noise to actions, with an exact density (arXiv 1906.04032).

    a = tanh(f_L(... f_1(z))),  z ~ N(0, I),    log p(a) = log N(z; 0, I) - sum_l log |det df_l| - sum_A log(1 - a^2)

Layer l keeps every second dimension and moves the others, each by a monotone rational-quadratic spline whose parameters
a network makes of the kept ones and the state (policies/splines.py); the next layer keeps the others. Both directions
cost one pass of each layer. So samples are reparameterised and densities exact at once, and one action dimension, of
which nothing is kept, can have several modes too. Behaviour cloning is the negative log-likelihood.
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
from policies import splines
from policies.base import PolicyConfig, TractablePolicy, TransportPolicy, repeated
from policies.densities import normal_log_density, preimage

#: points of the noise among whose actions the likeliest is sought, the origin one of them
POINTS = 32


class NormalizingFlowPolicy(TractablePolicy, TransportPolicy):
    """Networks `[kept dimensions of x, s] -> spline parameters`, one for each layer."""

    moved: Tensor
    points: Tensor

    def __init__(
        self, config: NormalizingFlowConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.act_dim = spec.act_dim
        outputs = spec.act_dim * splines.parameters_of(config.pieces)
        self.nets = nn.ModuleList(
            MLP((len(init),), spec.act_dim + spec.obs_dim, outputs, network, init) for _ in range(config.layers)
        )
        every = torch.arange(spec.act_dim)
        alternating = [(every + layer) % 2 == 0 for layer in range(config.layers)]
        #: of each layer, which dimensions it moves: all, where there is one
        moved = torch.stack(alternating) | torch.tensor(spec.act_dim == 1)
        self.register_buffer("moved", moved, persistent=False)
        drawn = torch.randn(POINTS - 1, spec.act_dim, generator=torch.Generator().manual_seed(0))
        self.register_buffer("points", torch.cat([torch.zeros(1, spec.act_dim), drawn]), persistent=False)

    @property
    def forwards_per_action(self) -> int:
        return len(self.nets)

    def _splines(self, layer: int, x: Tensor, obs: Tensor) -> Tensor:
        """Of the splines of all dimensions, `[S, B, A, 3 K - 1]`."""
        kept = x.masked_fill(self.moved[layer], 0.0)
        return self.nets[layer](torch.cat([kept, obs], dim=-1)).unflatten(-1, (self.act_dim, -1))

    def _to_raw(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The point before the tanh, `[S, B, A]`, and its log-density there, `[S, B]`."""
        x, log_density = noise, normal_log_density(noise, torch.zeros_like(noise), torch.zeros_like(noise))
        for layer in range(len(self.nets)):
            y, log_slope = splines.forward(x, self._splines(layer, x, obs))
            x = torch.where(self.moved[layer], y, x)
            log_density = log_density - (log_slope * self.moved[layer]).sum(-1)
        return x, log_density

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        x, log_density = preimage(act, bounded=True)
        log_density = -log_density
        for layer in reversed(range(len(self.nets))):
            y, log_slope = splines.inverse(x, self._splines(layer, x, obs))
            x = torch.where(self.moved[layer], y, x)
            log_density = log_density + (log_slope * self.moved[layer]).sum(-1)
        return log_density + normal_log_density(x, torch.zeros_like(x), torch.zeros_like(x))

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(obs, act)

    def transport(self, obs: Tensor, noise: Tensor) -> Tensor:
        return self._to_raw(obs, noise)[0].tanh()

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.transport(obs, rng.normal(obs.shape[1], self.act_dim))

    def mode(self, obs: Tensor) -> Tensor:
        """The likeliest (before the tanh) of the actions of `POINTS` fixed points of the noise."""
        noise = self.points.repeat(obs.shape[1], 1).expand(obs.shape[0], -1, -1)
        raw, log_density = (each.unflatten(1, (-1, POINTS)) for each in self._to_raw(repeated(obs, POINTS), noise))
        best = log_density.argmax(-1)[..., None, None].expand(-1, -1, 1, self.act_dim)
        return raw.gather(2, best).squeeze(2).tanh()


@dataclass(frozen=True)
class NormalizingFlowConfig(PolicyConfig):
    builds = NormalizingFlowPolicy

    layers: int = option(4, "coupling layers, each with a network of its own (L)", at_least=2)
    pieces: int = option(8, "pieces of each spline (K)", at_least=2, at_most=256)
