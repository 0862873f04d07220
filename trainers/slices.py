"""One call's randomness dealt out to several calls over slices of its batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from core.rng import Rng


class SlicedRng:
    """An `Rng` for calls over consecutive slices of `width` rows that together do what one call over `total` does.

    Each draw is made once, for all rows; every slice sees its own rows of it. The rows are the axis of a draw that is
    as long as the slice (in the first slice, where widths are full); a draw without one is the same for all slices.
    """

    def __init__(self, rng: Rng, total: int, width: int):
        self._rng, self._total, self._width = rng, total, width
        self._drawn: list[tuple[Tensor, int | None]] = []
        self._start = self._next = 0

    def advance(self) -> None:
        """Go on to the next slice."""
        self._start, self._next = self._start + self._width, 0

    def normal(self, *shape: int) -> Tensor:
        return self._draw(self._rng.normal, shape)

    def uniform(self, *shape: int) -> Tensor:
        return self._draw(self._rng.uniform, shape)

    def integers(self, high: int, *shape: int) -> Tensor:
        return self._draw(lambda *sizes: self._rng.integers(high, *sizes), shape)

    def _draw(self, source: Callable[..., Tensor], shape: tuple[int, ...]) -> Tensor:
        if self._next == len(self._drawn):
            assert shape.count(self._width) <= 1, f"which axis of {shape} are the {self._width} rows?"
            axis = shape.index(self._width) if self._width in shape else None
            whole = [self._total if place == axis else size for place, size in enumerate(shape)]
            self._drawn.append((source(*whole), axis))
        drawn, axis = self._drawn[self._next]
        self._next += 1
        # the axes of a draw come after that of the seeds
        return drawn if axis is None else drawn.narrow(axis + 1, self._start, shape[axis])
