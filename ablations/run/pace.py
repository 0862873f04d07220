"""How far a whole command has come: which run of how many it is at, and the time that is left of all."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ablations.plan.config import RunConfig


class Pace:
    """The steps of all seeds of all runs of a command, and the time they take."""

    def __init__(self, runs: Sequence[RunConfig]):
        self._numbers = {run.label: number for number, run in enumerate(runs, 1)}
        self._left = {run.label: run.budget.steps * len(run.seeds) for run in runs}
        self._done, self._seconds = 0, 0.0

    def title(self, run: RunConfig) -> str:
        """The run's label; among several also which it is."""
        number = f", {self._numbers[run.label]} of {len(self._numbers)}" if len(self._numbers) > 1 else ""
        return f"{run.label}{number}"

    def begin(self, run: RunConfig, step: int) -> None:
        """Training of these seeds of the run starts at a step, the first or one it had reached before."""
        self._left[run.label] -= step * len(run.seeds)
        self._since = time.perf_counter()

    def advance(self, run: RunConfig, steps: int) -> None:
        """So many more steps of these seeds are done, with all that was between them."""
        now = time.perf_counter()
        self._done += steps * len(run.seeds)
        self._left[run.label] -= steps * len(run.seeds)
        self._seconds += now - self._since
        self._since = now

    def skip(self, run: RunConfig) -> None:
        """Nothing is left to do of the run: it is there, it ended early, or another process makes it."""
        self._left[run.label] = 0

    @property
    def left(self) -> float | None:
        """Seconds, at the pace of the steps so far; None before the first, and where this run is the only one."""
        if not self._done or len(self._numbers) == 1:
            return None
        return sum(self._left.values()) * self._seconds / self._done
