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

from core.rng import Rng
from core.types import Transitions
from trainers.trainer import Due, Trainer

#: steps of a kind taken on a side stream, as CUDA asks, before one is recorded
WARM_UP = 3
#: kinds of step that are kept; while the weight of Q rises every step is a kind of its own
MOST = 16


class PreparedRng:
    """Draws made ahead into fixed tensors. The first step draws as it goes, and so says what a step of its kind draws."""

    def __init__(self, rng: Rng):
        self._rng, self._at = rng, 0
        self._draws: list[tuple[Callable[[], Tensor], Tensor]] = []
        self._known = False

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
    """A trainer's steps on batches of one dataset, taken through fixed memory."""

    def __init__(self, trainer: Trainer, dataset: Transitions, rng: Rng):
        self.trainer, self.dataset, self.rng = trainer, dataset, rng
        self._index = rng.integers  # the batch is drawn first, as `Trainer.train` does
        self._batch: Transitions | None = None
        self._kinds: dict[Due, _Kind] = {}

    def train(self, steps: int) -> dict[str, Tensor]:
        """`steps` updates; returns the latest record of each part, which the next call may overwrite."""
        record: dict[str, Tensor] = {}
        for _ in range(steps):
            record |= self._step()
        return record

    def _step(self) -> dict[str, Tensor]:
        trainer, due = self.trainer, self.trainer.due()
        batch = self._gather(self._index(len(self.dataset), trainer.config.batch))
        if due not in self._kinds and len(self._kinds) >= MOST:
            record = trainer.take(due, batch, self.rng)
        else:
            record = self._of_kind(self._kinds.setdefault(due, _Kind(self.rng)), due, batch)
        trainer.step += 1
        return record

    def _gather(self, index: Tensor) -> Transitions:
        gathered = self.dataset[index]
        if self._batch is None:
            self._batch = gathered
        else:
            self._batch.copy_(gathered)
        return self._batch

    def _of_kind(self, kind: _Kind, due: Due, batch: Transitions) -> dict[str, Tensor]:
        kind.rng.refill()
        kind.taken += 1
        if self.trainer.device.type != "cuda":
            return self.trainer.take(due, batch, kind.rng)
        if kind.taken <= WARM_UP:
            return self._beside(lambda: self.trainer.take(due, batch, kind.rng))
        if kind.graph is None:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                kind.record = self.trainer.take(due, batch, kind.rng)
            kind.graph = graph
        kind.graph.replay()
        return kind.record

    @staticmethod
    def _beside(take: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """On a stream of its own, as work that is to be recorded must first have run."""
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(here)
        with torch.cuda.stream(side):
            record = take()
        here.wait_stream(side)
        return record
