"""One-step student of a policy that transports noise (FQL: Park et al. 2025, arXiv 2502.02538, section 4).

    L = L_base + alpha E_z |mu(s, z) - transport_base(s, z)|^2,    z ~ N(0, I), averaged over action dimensions

The base learns by its own loss alone: the distillation takes its actions as given. A sample is one pass,
clip(mu(s, z), -1, 1), so an improvement through samples reaches the student and nothing else, and need not go
through the base's steps. The distillation sees mu before the clip, and so still pulls back what has left the box.
As released, but for the noise: there one z serves distillation and Q, here each draws its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import nested, option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import Policy, PolicyConfig, TransportPolicy
from policies.flow import FlowConfig


class DistilledPolicy(Policy):
    """Student network `[s, z] -> a` beside the base it follows."""

    cloning_only = ("base",)

    def __init__(
        self, config: DistilledConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        base = config.base.build(spec, network, init)
        assert isinstance(base, TransportPolicy)
        self.alpha, self.act_dim, self.base = config.alpha, spec.act_dim, base
        self.student = MLP((len(init),), spec.obs_dim + spec.act_dim, spec.act_dim, network, init)

    def _student_action(self, obs: Tensor, noise: Tensor) -> Tensor:
        """Before the clip: obs `[S, B, O]`, noise `[S, B, A]` -> `[S, B, A]`."""
        return self.student(torch.cat([obs, noise], dim=-1))

    def distillation(self, obs: Tensor, rng: Rng) -> Tensor:
        """Squared distance of student and base from the same noise, mean over dimensions, `[S, B]`."""
        noise = rng.normal(obs.shape[1], self.act_dim)
        with torch.no_grad():
            target = self.base.transport(obs, noise)
        return (self._student_action(obs, noise) - target).square().mean(-1)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return self.base.bc_loss(obs, act, rng) + self.alpha * self.distillation(obs, rng)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        return self._student_action(obs, rng.normal(obs.shape[1], self.act_dim)).clamp(-1, 1)


@dataclass(frozen=True)
class DistilledConfig(PolicyConfig):
    builds = DistilledPolicy

    base: PolicyConfig = nested(
        FlowConfig(),
        "policy class that is distilled",
        part="policy",
        accepts=lambda config: config.transports,
        needs="a policy class that transports noise deterministically, such as flow, or diffusion with sampler ddim",
    )
    alpha: float = option(10.0, "weight of the distillation; FQL's ranges from 1 to 30000 over tasks", above=0)
