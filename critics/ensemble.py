"""K critics for each of S seeds, evaluated in one batched pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from core.networks import MLP, NetworkConfig
from core.options import Options, option
from core.types import TaskSpec


@dataclass(frozen=True)
class CriticConfig(Options):
    heads: int = option(2, "critics of each seed (K)", at_least=1)
    layer_norm: bool = option(False, "normalise the activations of each hidden layer")
    loss: str = option("sum", "of the heads' squared errors: their sum, or their mean", choices=("sum", "mean"))
    normalize_target: bool = option(
        False, "divide the target by its deviation over the batch (consistency-ac's q_norm)"
    )

    source: str = option(
        "learned",
        "of Q: learned from the data, or the exact Q of a task that knows it (bandits)",
        choices=("learned", "exact"),
    )

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> Critic:
        return Critic(self, spec, network, init)

    def scaled(self, target: Tensor) -> Tensor:
        """The TD target `[S, B]` as it is learned."""
        return target / (target.std(-1, keepdim=True) + 1e-6) if self.normalize_target else target


class Critic(nn.Module):
    """Q(s, a), K of them for each seed, each a network of its own over `[s, a]`."""

    def __init__(self, config: CriticConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]):
        super().__init__()
        self.heads = config.heads
        lead = (len(init), config.heads)
        self.net = MLP(lead, spec.obs_dim + spec.act_dim, 1, network, init, config.layer_norm)

    def forward(self, obs: Tensor, act: Tensor) -> Tensor:
        """obs `[S, B, O]`, act `[S, B, A]` -> values `[S, K, B]`."""
        pairs = torch.cat([obs, act], dim=-1)[:, None].expand(-1, self.heads, -1, -1)
        return self.net(pairs).squeeze(-1)


#: (obs `[S, B, O]`, noised actions x `[S, B, A]`, alpha, sigma `[S, B, 1]`) -> log of what their density is tilted by
Energy = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Critics(NamedTuple):
    """What an improvement or a selection may ask about the worth of actions."""

    online: Critic
    target: Critic
    #: V of observations `[S, B, O] -> [S, B]`, where the backup owns one
    value: Callable[[Tensor], Tensor] | None = None
    #: where the improvement learns one, `[S, B]`
    energy: Energy | None = None
