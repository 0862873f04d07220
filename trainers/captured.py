"""A training step that reads and writes fixed memory, so that a GPU can replay it with one launch (a CUDA graph).

Before each step its batch is gathered and its random numbers are drawn, into the same tensors every time; the step
itself then has no input but those. The numbers are the ones the step would have drawn itself, in the same order, so
that a run is the same run. Steps differ in what is due (`Due`): each kind is recorded once and replayed from then on.
On the CPU the same steps run without a graph.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from core import fusion
from core.rng import Rng, beside
from core.types import Transitions
from trainers.trainer import Due, Trainer

#: steps of a kind taken on a side stream, as CUDA asks, before one is recorded
WARM_UP = 3


class PreparedRng:
    """Draws made ahead into fixed tensors. The first step of a kind draws as it goes, and so says what is drawn."""

    def __init__(self, rng: Rng):
        self._rng, self._at = rng, 0
        self._draws: list[tuple[Callable[[], Tensor], Tensor]] = []
        self._known = False

    def beside(self, name: str) -> PreparedRng:
        """The stream of this name beside the one that is prepared, its draws among these and in their order."""
        other = PreparedRng(beside(self._rng, name))
        other._next = self._next  # type: ignore[method-assign]
        return other

    def refill(self) -> None:
        """Draw what the coming step will ask for."""
        self._at, self._known = 0, bool(self._draws)
        for draw, into in self._draws:
            into.copy_(draw())

    def normal(self, *shape: int) -> Tensor:
        return self._next(lambda: self._rng.normal(*shape))

    def uniform(self, *shape: int) -> Tensor:
        return self._next(lambda: self._rng.uniform(*shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._next(lambda: self._rng.integers(high, *shape))

    def _next(self, draw: Callable[[], Tensor]) -> Tensor:
        if not self._known:
            self._draws.append((draw, draw()))
        self._at += 1
        return self._draws[self._at - 1][1]


class _Kind:
    """Steps with the same things due: their randomness, and on a GPU their graph and where it leaves the record."""

    def __init__(self, rng: Rng):
        self.rng, self.taken = PreparedRng(rng), 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.record: dict[str, Tensor] = {}


class CapturedSteps:
    """What `Trainer.take` does, through fixed memory: to be put in the place of `Trainer.taking`."""

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self._batch: Transitions | None = None
        self._kinds: dict[Due, _Kind] = {}

    def __call__(self, due: Due, batch: Transitions, rng: Rng) -> dict[str, Tensor]:
        """One step; the next may overwrite the record that it returns."""
        if self._batch is None:
            self._batch = batch
        elif self._batch is not batch:
            self._batch.copy_(batch)
        kind = self._kinds.setdefault(due, _Kind(rng))
        kind.rng.refill()
        kind.taken += 1
        return self._of_kind(kind, due, self._batch)

    def _of_kind(self, kind: _Kind, due: Due, batch: Transitions) -> dict[str, Tensor]:
        def take() -> dict[str, Tensor]:
            return self.trainer.take(due, batch, kind.rng)

        if self.trainer.device.type != "cuda":
            return take()
        if kind.taken <= WARM_UP:
            return _beside(take)
        if kind.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                kind.record = take()
            kind.graph = graph
        kind.graph.replay()
        return kind.record


def replay(trainer: Trainer) -> None:
    """Let a trainer on a GPU replay its steps, where that is on (core/fusion.py)."""
    if fusion.replays() and trainer.device.type == "cuda":
        trainer.taking = CapturedSteps(trainer)


def _beside(take: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """On a stream of its own, as work that is to be recorded must first have run."""
    here, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(here)
    with torch.cuda.stream(side):
        record = take()
    here.wait_stream(side)
    return record
