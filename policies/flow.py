"""Flow matching policy: an ODE that carries noise to actions (Lipman et al. 2022, arXiv 2210.02747).

On the straight (optimal transport) path x_t = (1 - t) x_0 + t x_1 from noise x_0 to an action x_1 the velocity is
x_1 - x_0, and behaviour cloning is its regression (eq. 23 there with sigma_min = 0, as FQL, arXiv 2502.02538, eq. 4),

    L = E |v_theta(x_t, t, s) - (x_1 - x_0)|^2,    t ~ U[0, 1), averaged over action dimensions.

Sampling integrates dx/dt = v from t = 0 by Euler in n equal steps and clips the result to the box, with gradient
through all steps, and none where the result left the box.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig, affine
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies import chain
from policies.base import PolicyConfig, VelocityPolicy

Field = Callable[[Tensor, Tensor], Tensor]


class FlowPolicy(VelocityPolicy):
    """Velocity network `[x_t, t, s] -> v`."""

    def __init__(self, config: FlowConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.steps, self.act_dim = config.steps, spec.act_dim
        self.net = MLP((len(init),), spec.act_dim + 1 + spec.obs_dim, spec.act_dim, network, init)

    @property
    def forwards_per_action(self) -> int:
        return self.steps

    def velocity(self, x: Tensor, t: Tensor, obs: Tensor) -> Tensor:
        return self.net(torch.cat([x, t[..., None], obs], dim=-1))

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        noise = rng.normal(*act.shape[1:])
        t = rng.uniform(act.shape[1])
        x = (1 - t[..., None]) * noise + t[..., None] * act
        return (self.velocity(x, t, obs) - (act - noise)).square().mean(-1)

    def transport(self, obs: Tensor, noise: Tensor) -> Tensor:
        if not chain.covers(self.net) or chain.asked_for_slope(noise):
            return euler(lambda x, t: self.velocity(x, t, obs), noise, self.steps).clamp(-1, 1)
        first = self.net.layers[0]
        of_x, of_t, of_obs = (part.contiguous() for part in first.weight.split([self.act_dim, 1, obs.shape[-1]], -2))
        times = torch.arange(self.steps, dtype=noise.dtype, device=noise.device) / self.steps
        # x + velocity / steps, as a chain has it
        step = noise.new_ones(self.steps, 5)
        step[:, 1] = 1 / self.steps
        step[:, 3:] = 0
        # the first layer is not rounded (core/network_pass.py)
        with torch.autocast(obs.device.type, enabled=False):
            context = affine(obs, of_obs, first.bias)
        x = chain.run_through(self.net, of_x, context, times[:, None] * of_t, noise[:, None], step, float("inf"))
        return x.clamp(-1, 1)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self.transport(obs, rng.normal(obs.shape[1], self.act_dim))


def euler(field: Field, x: Tensor, steps: int) -> Tensor:
    """The solution at t = 1 of dx/dt = field(x, t) from x at t = 0, `[S, B, A]`, in equal steps of order 1."""
    for i in range(steps):
        x = x + field(x, x.new_full(x.shape[:-1], i / steps)) / steps
    return x


@dataclass(frozen=True)
class FlowConfig(PolicyConfig):
    builds = FlowPolicy

    steps: int = option(10, "Euler steps of the sampler", at_least=1, sampling=True)
