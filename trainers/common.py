"""Common random numbers: what the regularizer drew, drawn again for the improvement."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from core.rng import Rng

Signature = tuple[object, ...]


class RecordedRng:
    """An `Rng` that remembers its draws, so that `again` can give them once more."""

    def __init__(self, rng: Rng):
        self._rng = rng
        self._drawn: dict[Signature, list[Tensor]] = {}

    def normal(self, *shape: int) -> Tensor:
        return self._kept(("normal", *shape), lambda: self._rng.normal(*shape))

    def uniform(self, *shape: int) -> Tensor:
        return self._kept(("uniform", *shape), lambda: self._rng.uniform(*shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._kept(("integers", high, *shape), lambda: self._rng.integers(high, *shape))

    def again(self) -> AgainRng:
        """A source of what was drawn; of what was not, of the stream beneath."""
        return AgainRng(self._rng, {signature: list(draws) for signature, draws in self._drawn.items()})

    def _kept(self, signature: Signature, draw: Callable[[], Tensor]) -> Tensor:
        value = draw()
        self._drawn.setdefault(signature, []).append(value)
        return value


class AgainRng:
    """Gives for each draw the latest of the same kind and shape that it has not yet given, else a new one."""

    def __init__(self, rng: Rng, drawn: dict[Signature, list[Tensor]]):
        self._rng, self._drawn = rng, drawn

    def normal(self, *shape: int) -> Tensor:
        return self._given(("normal", *shape), lambda: self._rng.normal(*shape))

    def uniform(self, *shape: int) -> Tensor:
        return self._given(("uniform", *shape), lambda: self._rng.uniform(*shape))

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._given(("integers", high, *shape), lambda: self._rng.integers(high, *shape))

    def _given(self, signature: Signature, draw: Callable[[], Tensor]) -> Tensor:
        left = self._drawn.get(signature)
        return left.pop() if left else draw()
