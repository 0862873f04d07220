"""Selections: how an action is chosen at test time, a factor of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from core.options import Options, option
from core.rng import Rng
from critics.candidates import values_of
from critics.ensemble import Critics
from policies.base import DenoisingPolicy, ModalPolicy, Policy
from trainers.slices import SlicedRng

#: samples of all seeds that are drawn and valued in one pass; more are taken slice by slice
ROWS_IN_ONE_PASS = 2**17


@dataclass(frozen=True)
class Selection(Options):
    needs_critic: ClassVar[bool] = False
    needs_mode: ClassVar[bool] = False
    #: whether it steers each step of a denoising policy's sampler
    needs_denoiser: ClassVar[bool] = False
    #: whether it asks for an energy of noised actions, which an improvement learns
    needs_energy: ClassVar[bool] = False

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


@dataclass(frozen=True)
class Guided(Selection):
    """One sample drawn towards exp(scale * Q), by the gradient of Q in every step of the sampler; Q the smallest head.

    Guidance as in classifier guidance (Dhariwal and Nichol 2021, arXiv 2105.05233) with Q for the classifier. Q was
    never trained on noised actions: it is asked at the clean action the step predicts.
    """

    needs_critic = True
    needs_denoiser = True

    scale: float = option(1.0, "weight of Q against the policy's density", at_least=0)
    through_denoiser: bool = option(False, "take the gradient of Q through the denoiser too: one more pass a step")

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        assert critics is not None
        assert isinstance(policy, DenoisingPolicy)
        critic = critics.target

        def gradient(actions: Tensor) -> Tensor:
            with torch.enable_grad():
                leaf = actions.detach().requires_grad_()
                return torch.autograd.grad(critic(obs, leaf).amin(1).sum(), leaf)[0]

        return policy.guided_sample(obs, rng, gradient, self.scale, self.through_denoiser)


@dataclass(frozen=True)
class EnergyGuided(Selection):
    """One sample whose noised density is tilted by `scale` times the energy that the improvement learned (QGPO).

    With scale 1 and an exact energy it is a sample of the policy's density times exp(beta Q).
    """

    needs_critic = True
    needs_denoiser = True
    needs_energy = True

    scale: float = option(1.0, "weight of the energy; QGPO sweeps it when it acts", at_least=0)

    def __call__(self, policy: Policy, critics: Critics | None, obs: Tensor, rng: Rng) -> Tensor:
        assert critics is not None
        assert critics.energy is not None
        assert isinstance(policy, DenoisingPolicy)
        energy = critics.energy

        def slope(x: Tensor, alpha: float, sigma: float) -> Tensor:
            levels = (torch.full_like(x[..., :1], level) for level in (alpha, sigma))
            with torch.enable_grad():
                leaf = x.detach().requires_grad_()
                return self.scale * torch.autograd.grad(energy(obs, leaf, *levels).sum(), leaf)[0]

        return policy.tilted_sample(obs, rng, slope)


def candidates(policy: Policy, critics: Critics | None, obs: Tensor, count: int, rng: Rng) -> tuple[Tensor, Tensor]:
    """`count` samples for each observation `[S, B, O]`: actions `[S, B, N, A]` and their smallest Q `[S, B, N]`.

    Many are taken over slices of the observations, so that memory does not grow with them; what comes out is the same.
    """
    assert critics is not None
    step = max(1, ROWS_IN_ONE_PASS // (len(obs) * count))
    if step >= obs.shape[1]:
        actions = policy.sample_each(obs, count, rng)
        return actions, values_of(critics.target, obs, actions).amin(1)
    parts = []
    sliced = SlicedRng(rng, obs.shape[1] * count, step * count)
    for few in obs.split(step, dim=1):
        actions = policy.sample_each(few, count, sliced)
        parts.append((actions, values_of(critics.target, few, actions).amin(1)))
        sliced.advance()
    return torch.cat([actions for actions, _ in parts], 1), torch.cat([values for _, values in parts], 1)


def _pick(actions: Tensor, index: Tensor) -> Tensor:
    """The action at `index` `[S, B]` of `[S, B, N, A]`."""
    return actions.take_along_dim(index[..., None, None], dim=2).squeeze(2)


SELECTIONS: dict[str, type[Selection]] = {
    "one": One,
    "mode": Mode,
    "argmax-q": ArgmaxQ,
    "softmax-q": SoftmaxQ,
    "guided": Guided,
    "energy-guided": EnergyGuided,
}
