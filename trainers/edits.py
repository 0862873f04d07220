"""An improvement of the data: their actions are moved up Q, and the policy clones what comes of it (DIPO)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import option
from core.rng import Rng
from core.types import Transitions
from critics.ensemble import Critics
from policies.base import Policy
from trainers.terms import ActorTerms, Improvement


@dataclass(frozen=True)
class EditData(Improvement):
    """The regularizer at actions moved up the smallest Q: n times a <- clip(a + rate g) (DIPO, arXiv 2305.13122).

    g is the gradient of Q in the action; with `normalize` it is divided by the root of its mean square over dimensions,
    so that each step is as long as `rate` whatever the reward's scale. Any policy class can clone the result, and no
    gradient passes through a sample. Each batch is moved anew from the data; DIPO's buffer keeps what it moved.
    """

    needs_critic = True
    edits = True

    steps: int = option(20, "steps up Q from the data's action (n); 0 is behaviour cloning", at_least=0)
    rate: float = option(0.03, "length of a step, or what multiplies the gradient of Q", above=0)
    normalize: bool = option(True, "every step of the same length (the release takes Adam's)")

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        return ActorTerms(torch.ones_like(batch.reward), torch.zeros_like(batch.reward))

    def edited(self, critics: Critics | None, batch: Transitions) -> Transitions:
        assert critics is not None
        act = batch.act
        for _ in range(self.steps):
            act = (act + self.rate * self._ascent(critics, batch.obs, act)).clamp(-1, 1)
        return dataclasses.replace(batch, act=act)

    def _ascent(self, critics: Critics, obs: Tensor, act: Tensor) -> Tensor:
        """g at actions `[S, B, A]`, with no graph behind it."""
        with torch.enable_grad():
            leaf = act.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(critics.online(obs, leaf).amin(1).sum(), leaf)
        if self.normalize:
            tiny = torch.finfo(gradient.dtype).tiny
            gradient = gradient / gradient.square().mean(-1, keepdim=True).sqrt().clamp(min=tiny)
        return gradient
