"""Deterministic policy: one action for each observation, a = tanh(network(s)), as the actor of TD3+BC (2106.06860).

Behaviour cloning is the squared error, averaged over action dimensions unless told otherwise, so the policy goes to the
conditional mean of the data: between modes, where there are several.
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
from policies.base import REDUCTIONS, ModalPolicy, PolicyConfig, over_dimensions, repeated


class DeterministicPolicy(ModalPolicy):
    """Has a mode, its only action, and no density."""

    def __init__(
        self, config: DeterministicConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.reduction = config.reduction
        self.net = MLP((len(init),), spec.obs_dim, spec.act_dim, network, init)

    def mode(self, obs: Tensor) -> Tensor:
        return self.net(obs).tanh()

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return over_dimensions((self.mode(obs) - act).square(), self.reduction)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        """The one action; draws nothing."""
        return self.mode(obs)

    def sample_each(self, obs: Tensor, count: int, rng: Rng) -> Tensor:
        return repeated(self.mode(obs), count).unflatten(1, (-1, count))


@dataclass(frozen=True)
class DeterministicConfig(PolicyConfig):
    builds = DeterministicPolicy

    reduction: str = option("mean", "of the loss over the dimensions of an action", choices=REDUCTIONS)
