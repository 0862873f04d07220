"""Autoregressive policy over bins: each dimension of an action is drawn given those before it (Metz et al. 2017,
arXiv 1705.05035; Q-Transformer, arXiv 2309.10150).

    log p(a | s) = sum_i log p_i(bin of a_i | a_1 ... a_{i-1}, s) + A log(K / 2)

K equal bins divide [-1, 1], and within a bin the density is even. So it is exact and has any number of modes, jointly
over dimensions, at the resolution of a bin. It has no slope in the action, and a drawn bin passes no gradient: Q
reaches the policy through weights, edited data and selection alone. With `factorised` no dimension sees another, which
gets every marginal right and no dependence. Behaviour cloning is the negative log-likelihood, in one pass of all
dimensions; a sample takes one for each. Axes: K bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import MLP, NetworkConfig
from core.options import option
from core.rng import Rng
from core.types import TaskSpec
from policies.base import PolicyConfig, TractablePolicy


class AutoregressivePolicy(TractablePolicy):
    """One network for all dimensions, `[dimensions before, which dimension, s] -> logits of its bins`."""

    reparameterised = False
    smooth = False

    def __init__(
        self, config: AutoregressiveConfig, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]
    ):
        super().__init__()
        self.bins, self.act_dim, self.factorised = config.bins, spec.act_dim, config.factorised
        self.net = MLP((len(init),), 2 * spec.act_dim + spec.obs_dim, config.bins, network, init)

    @property
    def forwards_per_action(self) -> int:
        return self.act_dim

    def log_shares(self, obs: Tensor, act: Tensor, dimension: Tensor) -> Tensor:
        """Log-probabilities of the bins of `dimension` `[B]` given those before it: `[S, B, K]`."""
        every = torch.arange(self.act_dim, device=act.device)
        which = (every == dimension[:, None]).to(act.dtype).expand(len(act), -1, -1)
        before = every < dimension[:, None]
        seen = torch.zeros_like(act) if self.factorised else act * before
        return self.net(torch.cat([seen, which, obs], dim=-1)).log_softmax(-1)

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        """Of actions in [-1, 1]."""
        count = self.act_dim
        dimension = torch.arange(count, device=act.device).repeat(act.shape[1])
        rows, acts = (each.repeat_interleave(count, dim=1) for each in (obs, act))
        shares = self.log_shares(rows, acts, dimension).unflatten(1, (-1, count))
        taken = ((act + 1) / 2 * self.bins).long().clamp(0, self.bins - 1)
        return shares.gather(-1, taken[..., None]).squeeze(-1).sum(-1) + count * math.log(self.bins / 2)

    def bc_loss(self, obs: Tensor, act: Tensor, rng: Rng) -> Tensor:
        return -self.log_prob(obs, act)

    def sample(self, obs: Tensor, rng: Rng) -> Tensor:
        draws = rng.uniform(2, obs.shape[1], self.act_dim)

        def quantile(shares: Tensor, i: int) -> Tensor:
            """The bin at which the cumulated probability passes a uniform draw, and a place in it by another."""
            passed = (shares.exp().cumsum(-1) <= draws[:, 0, :, i, None]).sum(-1).clamp(max=self.bins - 1)
            return passed + draws[:, 1, :, i]

        return self._in_turn(obs, quantile)

    def mode(self, obs: Tensor) -> Tensor:
        """The middle of the likeliest bin of each dimension in turn: not always the likeliest of all actions."""
        return self._in_turn(obs, lambda shares, i: shares.argmax(-1) + 0.5)

    @torch.no_grad()
    def _in_turn(self, obs: Tensor, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Actions `[S, B, A]`; `choose` maps log-probabilities `[S, B, K]` to a place in bins, `[S, B]`."""
        act = obs.new_zeros(*obs.shape[:2], self.act_dim)
        for i in range(self.act_dim):
            shares = self.log_shares(obs, act, torch.full((obs.shape[1],), i, device=obs.device))
            act[..., i] = 2 * choose(shares, i).to(act.dtype) / self.bins - 1
        return act


@dataclass(frozen=True)
class AutoregressiveConfig(PolicyConfig):
    builds = AutoregressivePolicy

    bins: int = option(51, "equal bins of each dimension of an action (K)", at_least=2, at_most=1024)
    factorised: bool = option(False, "every dimension by itself, not given those before it")
