"""Randomness as an argument: one generator per seed, never a global one.

Seed s draws the same stream whoever its companions are, so that training it alone or beside others gives the
same run. Anything with the same three methods can stand in for a `SeedRng`: a recorded stream, say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

STREAMS = ("init", "train", "evaluate")


class Rng(Protocol):
    """What policies, samplers, regularizers and improvements ask of a source of randomness."""

    def normal(self, *shape: int) -> Tensor:
        """Standard normal draws, `[S, *shape]`."""
        ...

    def uniform(self, *shape: int) -> Tensor:
        """Draws from U[0, 1), `[S, *shape]`."""
        ...

    def integers(self, high: int, *shape: int) -> Tensor:
        """Integers from 0 to high - 1, int64, `[S, *shape]`."""
        ...


def seed_generator(seed: int, stream: str, device: torch.device | str = "cpu") -> torch.Generator:
    """The generator of one seed for one purpose; streams of one seed are independent of each other."""
    state = np.random.SeedSequence([seed, STREAMS.index(stream)]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]) >> 1)


class SeedRng:
    """One `torch.Generator` per seed. Draws have the given dtype, on the given device."""

    def __init__(
        self,
        seeds: Sequence[int],
        stream: str,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ):
        self.device, self.dtype = device, dtype
        self.generators = [seed_generator(seed, stream, device) for seed in seeds]

    def normal(self, *shape: int) -> Tensor:
        out = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out

    def uniform(self, *shape: int) -> Tensor:
        out = torch.empty(len(self.generators), *shape, device=self.device, dtype=self.dtype)
        for row, generator in zip(out, self.generators, strict=True):
            row.uniform_(generator=generator)
        return out

    def integers(self, high: int, *shape: int) -> Tensor:
        out = torch.empty(len(self.generators), *shape, device=self.device, dtype=torch.int64)
        for row, generator in zip(out, self.generators, strict=True):
            row.random_(0, high, generator=generator)
        return out

    def state_dict(self) -> list[Tensor]:
        """Where each generator stands, for a checkpoint."""
        return [generator.get_state() for generator in self.generators]

    def load_state_dict(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.generators, states, strict=True):
            generator.set_state(state.cpu())
