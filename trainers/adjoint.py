"""Adjoint matching: a flow is tuned towards the behaviour's density times exp(eta Q) (QAM, arXiv 2601.14234, and BAM).

A behaviour flow v_b is trained beside by its own loss. The policy's flow v starts from noise and takes n steps of the
memoryless SDE, h = 1 / n (Domingo-Enrich et al. 2024, arXiv 2409.08861),

    x' = x + h (2 v(x, t, s) - x / (t + h)) + sqrt(h) sigma_t noise,    sigma_t^2 = 2 (1 - t + h) / (t + h),

the last of them along v_b, without noise. Under this noise the least expected cost -eta Q(x_1) plus half the squared
control over time is that of the tilted density. Form `lean` (QAM) takes each path as given, and carries the gradient of
the cost back along it by the behaviour alone, no gradient through the policy's steps:

    g_n = -eta dQ/da(x_n),    g_i = g_{i+1} + h d/dx (2 v_b - x / (t + h))^T g_{i+1}   at x_i and t_{i+1} (as released),
    bonus = sum_i |2 (v - v_b) / sigma_i + sigma_i g_i|^2   with v_b and g_i held fixed.

Form `backprop` (BAM) descends a cost through all steps: -eta Q(x_n) + sum_i 2 |v - v_b|^2 / sigma_i^2, as released not
times h, so that the same eta has n times less weight than in `lean`. v_b is a Polyak average of the behaviour, at the
rate `trainer.tau`. Axes: n steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.networks import NetworkConfig
from core.options import nested, option
from core.rng import Rng
from core.types import TaskSpec, Transitions
from critics.candidates import lower_bound
from critics.ensemble import Critic, Critics
from critics.targets import polyak
from policies.base import Policy, PolicyConfig, VelocityPolicy
from trainers.divergences import build_behaviour
from trainers.optim import frozen_copy
from trainers.terms import ActorTerms, Improvement, Improver


@dataclass(frozen=True)
class AdjointMatching(Improvement):
    """The policy's flow against a behaviour flow's, by adjoints of Q along its own noisy paths (QAM, BAM)."""

    needs_critic = True
    adds_bonus = True
    needs_velocity = True
    learns = True

    eta: float = option(1.0, "weight of Q against the behaviour (the inverse temperature)", at_least=0)
    form: str = option(
        "lean", "lean: adjoints by the behaviour alone (QAM); backprop: through the paths (BAM)",
        choices=("lean", "backprop"),
    )  # fmt: skip
    rho: float = option(0.0, "deviations of the heads taken from their mean as Q (BAM: 0.5)", at_least=0)
    clip: bool = option(True, "ask Q at the action in the box: no gradient from outside it")
    behaviour: PolicyConfig | None = nested(
        None,
        "policy class of the behaviour trained beside",
        part="policy",
        accepts=lambda config: config is None or issubclass(config.builds, VelocityPolicy),
        needs="a policy class that follows a velocity",
        name="flow",
    )

    @property
    def asks_target(self) -> bool:  # type: ignore[override]
        return self.form == "lean"

    def build(self, spec: TaskSpec, network: NetworkConfig, init: Sequence[torch.Generator]) -> AdjointImprover:
        behaviour = build_behaviour(self.behaviour, spec, network, init)
        assert isinstance(behaviour, VelocityPolicy)
        return AdjointImprover(self, behaviour)

    def worth(self, critic: Critic, obs: Tensor, act: Tensor) -> Tensor:
        """Q of actions `[S, B, A]`, `[S, B]`."""
        return lower_bound(critic(obs, act.clamp(-1, 1) if self.clip else act), self.rho)


class AdjointImprover(Improver):
    """The improvement with its behaviour flow and that flow's average."""

    def __init__(self, config: AdjointMatching, behaviour: VelocityPolicy):
        super().__init__()
        self.config, self.behaviour = config, behaviour
        self.average = frozen_copy(behaviour)

    def move_averages(self, rate: float) -> None:
        polyak(self.average.parameters(), self.behaviour.parameters(), rate)

    def forward(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        assert critics is not None
        assert isinstance(policy, VelocityPolicy)
        own = self.behaviour.bc_loss(batch.obs, batch.act, rng)
        noise = rng.normal(policy.steps, *batch.act.shape[1:])
        bonus = (self._lean if self.config.form == "lean" else self._backprop)(policy, critics, batch.obs, noise)
        return ActorTerms(torch.ones_like(bonus), bonus, own)

    def _lean(self, policy: VelocityPolicy, critics: Critics, obs: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            path = memoryless_path(policy, self.average, obs, noise)
            slope = self._slope(critics.target, obs, path[-1])
            adjoints = lean_adjoints(self.average, obs, path, -self.config.eta * slope)
        return matching(policy, self.average, obs, torch.stack(path[:-1], 1), torch.stack(adjoints, 1))

    def _slope(self, critic: Critic, obs: Tensor, act: Tensor) -> Tensor:
        """The gradient of Q in actions `[S, B, A]`."""
        with torch.enable_grad():
            leaf = act.detach().requires_grad_()
            return torch.autograd.grad(self.config.worth(critic, obs, leaf).sum(), leaf)[0]

    def _backprop(self, policy: VelocityPolicy, critics: Critics, obs: Tensor, noise: Tensor) -> Tensor:
        path = memoryless_path(policy, self.average, obs, noise)
        bonus = -self.config.eta * self.config.worth(critics.online, obs, path[-1])
        for step, x in enumerate(path[:-2]):
            t = torch.full_like(x[..., 0], step / policy.steps)
            control = policy.velocity(x, t, obs) - self.average.velocity(x, t, obs)
            bonus = bonus + 2 / variance(step, policy.steps) * control.square().sum(-1)
        return bonus


def variance(step: Any, steps: int) -> Any:
    """sigma_t^2 at t = step / steps, of a number or of each in a tensor."""
    return 2 * (steps - step + 1) / (step + 1)


def memoryless_path(policy: VelocityPolicy, behaviour: VelocityPolicy, obs: Tensor, noise: Tensor) -> list[Tensor]:
    """x_0 ... x_n, each `[S, B, A]`, from noise `[S, n, B, A]`: the start, and that of each step but the last."""
    steps = noise.shape[1]
    path = [noise[:, 0]]
    for step in range(steps):
        x, t = path[-1], torch.full_like(noise[:, 0, :, 0], step / steps)
        if step == steps - 1:
            path.append(x + behaviour.velocity(x, t, obs) / steps)
            break
        drift = 2 * policy.velocity(x, t, obs) - x * steps / (step + 1)
        path.append(x + drift / steps + (variance(step, steps) / steps) ** 0.5 * noise[:, step + 1])
    return path


def lean_adjoints(behaviour: VelocityPolicy, obs: Tensor, path: Sequence[Tensor], last: Tensor) -> list[Tensor]:
    """g_0 ... g_{n-1} `[S, B, A]` from `last`, the gradient of the cost at the end of the path."""
    steps, adjoint = len(path) - 1, last
    adjoints = []
    for step in reversed(range(steps)):
        with torch.enable_grad():
            x = path[step].detach().requires_grad_()
            t = torch.full_like(x[..., 0], (step + 1) / steps)
            drift = 2 * behaviour.velocity(x, t, obs) - x * steps / (step + 1)
            (pulled,) = torch.autograd.grad(drift, x, adjoint)
        adjoint = adjoint + pulled / steps
        adjoints.append(adjoint)
    return adjoints[::-1]


def matching(policy: VelocityPolicy, behaviour: VelocityPolicy, obs: Tensor, x: Tensor, adjoints: Tensor) -> Tensor:
    """The bonus of form `lean`, `[S, B]`, from the path's points and adjoints, each `[S, n, B, A]`."""
    steps, rows = x.shape[1], obs[:, None].expand(-1, x.shape[1], -1, -1).flatten(1, 2)
    number = torch.arange(steps, dtype=x.dtype, device=x.device)
    t = (number / steps).repeat_interleave(x.shape[2]).expand(len(x), -1)
    points, sigma = x.flatten(1, 2), variance(number, steps).sqrt()[:, None, None]
    with torch.no_grad():
        base = behaviour.velocity(points, t, rows)
    control = (policy.velocity(points, t, rows) - base).unflatten(1, (steps, -1))
    return (2 / sigma * control + sigma * adjoints).square().sum((1, 3))
