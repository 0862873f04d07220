"""BCQ's bounded perturbation of another policy's samples (Fujimoto et al. 2019, arXiv 1812.02900, section 4).

    a = clip(b + phi tanh(network(s, b)), -1, 1),    b ~ base(s)

The base is trained by its own behaviour-cloning loss alone and no gradient reaches it through a sample; the
perturbation is trained by nothing but an improvement through samples. So under q-max the policy can go up Q
by at most phi in each dimension from what the base does, and under behaviour cloning alone it stays as initialised.
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
from policies.base import Policy, PolicyConfig
from policies.cvae import CVAEConfig


class PerturbedPolicy(Policy):
    """Bounded whatever the base is, and reparameterised through the perturbation whatever the base is."""

    improvement_only = ("perturbation",)
    cloning_only = ("base",)

    def __init__(
        self, config: PerturbedConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.phi = config.phi
        self.base = config.base.build(spec, network, init)
        self.perturbation = MLP((len(init),), spec.obs_dim + spec.act_dim, spec.act_dim, network, init)

    @property
    def forwards_per_action(self) -> int:
        return self.base.forwards_per_action + 1

    def perturb(self, obs: Tensor, act: Tensor) -> Tensor:
        """obs `[S, B, O]`, actions `[S, B, A]` -> actions at most phi away, in the box."""
        shift = self.perturbation(torch.cat([obs, act], dim=-1)).tanh()
        return (act + self.phi * shift).clamp(-1, 1)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return self.base.bc_loss(obs, act, rng)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        with torch.no_grad():
            act = self.base.sample(obs, rng)
        return self.perturb(obs, act)


@dataclass(frozen=True)
class PerturbedConfig(PolicyConfig):
    builds = PerturbedPolicy

    base: PolicyConfig = nested(
        CVAEConfig(),
        "policy class that is perturbed",
        part="policy",
        # no gradient reaches the base through a sample, so a base that needs one would keep its initial weights
        accepts=lambda config: not config.builds.improvement_only,
        needs="a policy class that behaviour cloning trains entirely (any but perturbed and steered)",
    )
    phi: float = option(0.05, "largest perturbation of each action dimension", at_least=0, at_most=2)
