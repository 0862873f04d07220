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

STREAMS = (
    *("init", "train", "evaluate", "init-critic", "init-backup", "init-regularizer"),
    *("train-batches", "train-critic", "init-improvement"),
)
#: what a stream has beside it: training draws its batches and its critic's noise apart, so that neither depends on
#: what a policy class draws, nor a policy's noise on whether there is a critic
BESIDE = {"train": ("batches", "critic")}


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
        self._beside = {name: SeedRng(seeds, f"{stream}-{name}", device, dtype) for name in BESIDE.get(stream, ())}
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

    def beside(self, name: str) -> SeedRng:
        """The stream of this name beside this one."""
        return self._beside[name]

    def _by_seed(self) -> list[torch.Generator]:
        """Every generator, those of one seed after those of another."""
        streams = [self.generators, *(other.generators for other in self._beside.values())]
        return [generator for of_seed in zip(*streams, strict=True) for generator in of_seed]

    def state_dict(self) -> list[Tensor]:
        """Where each generator stands, for a checkpoint: all of a seed's, seed after seed."""
        return [generator.get_state() for generator in self._by_seed()]

    def load_state_dict(self, states: list[Tensor]) -> None:
        for generator, state in zip(self._by_seed(), states, strict=True):
            generator.set_state(state.cpu())


def beside(rng: Rng, name: str) -> Rng:
    """The stream of this name beside `rng`; `rng` itself where it is but one, as a recorded stream is."""
    return rng.beside(name) if hasattr(rng, "beside") else rng
