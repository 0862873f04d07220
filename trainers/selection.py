"""Selections: how an action is chosen at test time, a factor of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from core.options import Options, option
from core.rng import Rng
from critics.ensemble import Critics
from policies.base import ModalPolicy, Policy


@dataclass(frozen=True)
class Selection(Options):
    needs_critic: ClassVar[bool] = False
    needs_mode: ClassVar[bool] = False

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        """One action `[S, B, A]` for each observation `[S, B, O]`."""
        raise NotImplementedError


@dataclass(frozen=True)
class One(Selection):
    """One sample of the policy."""

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        return policy.sample(obs, rng)


@dataclass(frozen=True)
class Mode(Selection):
    """The policy's most likely action."""

    needs_mode = True

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        assert isinstance(policy, ModalPolicy)
        return policy.mode(obs)


@dataclass(frozen=True)
class ArgmaxQ(Selection):
    """The best of N samples by the smallest head."""

    needs_critic = True

    candidates: int = option(50, "samples to choose from (N)", at_least=1)

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        actions, values = candidates(policy, critics, obs, self.candidates, rng)
        return _pick(actions, values.argmax(-1))


@dataclass(frozen=True)
class SoftmaxQ(Selection):
    """One of N samples, with probability proportional to exp(Q / temperature), Q the smallest head (as released)."""

    needs_critic = True

    candidates: int = option(50, "samples to choose from (N)", at_least=1)
    temperature: float = option(1.0, "of the softmax", above=0)

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        actions, values = candidates(policy, critics, obs, self.candidates, rng)
        # the Gumbel-max trick: one uniform draw per candidate, as a prepared stream can provide
        tiny = torch.finfo(values.dtype).tiny
        gumbel = -torch.log(-torch.log(rng.uniform(*values.shape[1:]).clamp(min=tiny)))
        return _pick(actions, (values / self.temperature + gumbel).argmax(-1))


def candidates(policy: Policy, critics: Critics | None, obs: Tensor, count: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """`count` samples for each observation `[S, B, O]`: actions `[S, B, N, A]` and their smallest Q `[S, B, N]`."""
    assert critics is not None
    repeated = obs.repeat_interleave(count, dim=1)
    actions = policy.sample(repeated, rng)
    values = critics.target(repeated, actions).amin(1)
    return actions.unflatten(1, (-1, count)), values.unflatten(1, (-1, count))


def _pick(actions: Tensor, index: Tensor) -> Tensor:
    """The action at `index` `[S, B]` of `[S, B, N, A]`."""
    return actions.take_along_dim(index[..., None, None], dim=2).squeeze(2)


SELECTIONS: dict[str, type[Selection]] = {
    "one": One,
    "mode": Mode,
    "argmax-q": ArgmaxQ,
    "softmax-q": SoftmaxQ,
}
