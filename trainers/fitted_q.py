"""Fitted Q evaluation (Le, Voloshin & Yue 2019, arXiv 1903.08738): what a policy would return, by recorded data alone.

Q descends (Q(s, a) - r - discount Q'(s', a'))^2 with a' drawn from the policy and Q' an average of Q; the value is the
mean of Q(s_0, a_0) over first observations, a_0 drawn likewise. Q begins as the data's own discounted returns, so that
what is left of its beginning is the behaviour's value and not zero. Targets stay within what the rewards can return.
An estimate where the policy leaves the data is a guess of the network. Axes: S seeds, n transitions, e episodes, B
batch, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.rng import Rng, seed_generator
from core.types import TaskSpec, Transitions
from critics.ensemble import Critic, CriticConfig
from critics.targets import polyak, td_target
from trainers.optim import ReplicaAdam, frozen_copy

#: share of the steps that fit the recorded returns first
BEGINNING = 0.1
#: how often the average is renewed over all steps, and its fastest rate
RENEWALS, FASTEST = 200, 0.05
BATCH = 256
#: first observations, and actions in each, that the value is meaned over
FIRSTS, DRAWS = 500, 8

Act = Callable[[Tensor, Rng], Tensor]


@dataclass(frozen=True)
class Recorded:
    """What is known: transitions `[n, ...]` with their discounted returns `[n]`, and first observations `[e, O]`."""

    data: Transitions
    returns: Tensor
    first: Tensor

    def to(self, *args) -> Recorded:
        return Recorded(self.data.to(*args), self.returns.to(*args), self.first.to(*args))


def fitted_q(
    act: Act,
    recorded: Recorded,
    network: NetworkConfig,
    seeds: Sequence[int],
    steps: int,
    rng: Rng,
    lr: float = 3e-4,
) -> Tensor:
    """The discounted return of S policies from the first observations, `[S]`. `act`: `[S, B, O]` -> `[S, B, A]`."""
    like = rng.normal(0)  # no draw: only device and precision
    recorded = recorded.to(like.dtype).to(like.device)
    data, scale = recorded.data, _scale(recorded)
    spec = TaskSpec("fitted q", data.obs.shape[1], data.act.shape[1])
    init = [seed_generator(seed, "init-critic") for seed in seeds]
    critic = Critic(CriticConfig(heads=1), spec, network, init).to(like.device, like.dtype)
    average, optimizer = frozen_copy(critic), ReplicaAdam(critic.parameters(), lr)
    seen = _Standardised(data.obs)
    low, high = (bound / scale for bound in _bounds(data))
    beginning, rate = int(BEGINNING * steps), min(FASTEST, RENEWALS / steps)
    for step in range(steps):
        rows = rng.integers(len(data), BATCH)
        batch = data[rows]
        if step < beginning:
            target = recorded.returns[rows] / scale
        else:
            with torch.no_grad():
                following = average(seen(batch.next_obs), act(batch.next_obs, rng).to(like.dtype))[:, 0]
                target = td_target(batch.reward / scale, batch.discount, following).clamp(low, high)
        error = critic(seen(batch.obs), batch.act)[:, 0] - target
        optimizer.descend(error.square().mean(-1), None)
        polyak(average.parameters(), critic.parameters(), 1.0 if step < beginning else rate)
    return scale * _value(act, critic, seen, recorded.first.expand(len(seeds), -1, -1), rng)


class _Standardised:
    """Observations with mean 0 and deviation 1 in the data."""

    def __init__(self, obs: Tensor):
        self.mean, self.scale = obs.mean(0), obs.std(0, correction=0) + 1e-3

    def __call__(self, obs: Tensor) -> Tensor:
        return (obs - self.mean) / self.scale


def _scale(recorded: Recorded) -> Tensor:
    """A number of the size of returns, so that Q is of the size of 1."""
    sizes = torch.stack([recorded.returns.abs().mean(), recorded.data.reward.abs().mean()])
    return sizes.max().clamp(min=1e-6)


def _bounds(data: Transitions) -> tuple[Tensor, Tensor]:
    """What rewards of the data can return, at most and at least; nothing bounds a sum without a discount."""
    horizon = 1 / (1 - data.discount.max()).clamp(min=1e-6)
    return data.reward.min().clamp(max=0) * horizon, data.reward.max().clamp(min=0) * horizon


@torch.no_grad()
def _value(act: Act, critic: Critic, seen: _Standardised, first: Tensor, rng: Rng) -> Tensor:
    obs = first[:, :: -(-first.shape[1] // FIRSTS)].repeat_interleave(DRAWS, 1)
    return critic(seen(obs), act(obs, rng).to(obs.dtype)).mean((1, 2))
