"""Modes on a circle that the context turns, moves, weighs anew, and whose number it says: from one to `modes`.

The five effects (turn, move right, move up, weigh, number) share the context's entries out among them in turn: effect e
reads the sum of the entries i with i = e modulo 5 (of the one entry e modulo O, where they are fewer), folded back into
[-1, 1]. So each entry matters, whatever their number, and each effect is uniform over [-1, 1] and continuous.
Axes: n rows, O context, K modes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.options import option
from tasks.behaviours.config import BehaviourConfig
from tasks.behaviours.mixture import Components, Mixture
from tasks.behaviours.plane import REACH

EFFECTS = 5
#: how far the circle's middle moves, in each direction
MOVE = 0.2
#: the first mode outweighs the last by up to exp of this, or the other way round
TILT = 2.0


def effects(obs: Tensor) -> Tensor:
    """The five effects of contexts `[n, O]` in [-1, 1]^O, each in [-1, 1], `[n, 5]`."""
    dims = obs.shape[-1]
    if dims < EFFECTS:
        return obs[:, torch.arange(EFFECTS) % dims]
    sums = torch.stack([obs[:, effect::EFFECTS].sum(-1) for effect in range(EFFECTS)], -1)
    # a triangular wave: the sum of uniform numbers stays uniform
    return 1 - ((sums - 1) % 4 - 2).abs()


class Turning(Mixture):
    """See above; `number` of modes of a row: the first so many have weight."""

    conditional = True

    def __init__(self, contexts: int, modes: int, std: float):
        means = torch.zeros(1, modes, 2, dtype=torch.float64)
        super().__init__(Components(torch.zeros(1, modes, dtype=torch.float64), means, std))
        self.obs_dim, self.std = contexts, std
        self.radius = 1 - MOVE - REACH * std

    def contexts(self, count: int, generator: torch.Generator) -> Tensor:
        return 2 * torch.rand(count, self.obs_dim, generator=generator, dtype=torch.float64) - 1

    def number(self, obs: Tensor) -> Tensor:
        """How many modes each context has, `[n, 1]`."""
        share = (effects(obs)[:, -1:] + 1) / 2
        return (1 + (share * self.modes).floor()).clamp(max=self.modes)

    def components(self, obs: Tensor) -> Components:
        turn, right, up, tilt, _ = effects(obs)[..., None].unbind(1)
        place = torch.arange(self.modes).to(obs)
        number = self.number(obs)
        angle = math.pi * turn + 2 * math.pi * place / number
        middle = MOVE * torch.cat([right, up], -1)
        means = middle[:, None] + self.radius * torch.stack([angle.cos(), angle.sin()], -1)
        logits = (TILT * tilt * (0.5 - place / self.modes)).masked_fill(place >= number, -math.inf)
        return Components(logits.log_softmax(-1), means, self.std)


@dataclass(frozen=True)
class ConditionalConfig(BehaviourConfig):
    """Gaussians on a circle; the context turns, moves and reweights them and says how many there are."""

    contexts: int = option(4, "dimensions of the context", at_least=1, at_most=8)
    modes: int = option(8, "at most, of a context", at_least=1, at_most=32)
    deviation: float = option(0.05, "of a mode", at_least=0.01, at_most=0.15)

    def build(self) -> Turning:
        return Turning(self.contexts, self.modes, self.deviation)
