"""The Python door: carry out a plan, and read what a directory holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ablations.analysis import statistics
from ablations.experiment import conduct
from ablations.figures import FIGURES
from ablations.plan.making import make, together
from ablations.plan.plan import Plan
from ablations.record import recipe, results
from ablations.run import frozen, loggers, trained
from ablations.run.execution import Execution
from ablations.run.trained import TrainedPolicy
from core import devices
from core.options import OptionError, unknown_name


class Results:
    """What a directory of one run or of a comparison holds."""

    def __init__(self, directory: Path, table: str = "", failures: tuple[str, ...] = ()):
        #: `table`: as the command line prints it, of a directory just made; `failures`: a line for each seed that
        #: diverged and each figure that could not be drawn
        self.directory, self.table, self.failures = directory, table, failures
        if not directory.is_dir():
            raise results.not_of_runs("load", directory)
        self._runs = {results.read_config(run)["label"]: run for run in results.run_directories(directory)}
        if not self._runs:
            raise results.not_of_runs("load", directory)

    @property
    def runs(self) -> list[str]:
        """The labels of its runs."""
        return list(self._runs)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """Tidy: a row for each run, view, seed, step and metric."""
        return results.load_metrics(self.directory)

    @property
    def summary(self) -> pd.DataFrame:
        """Mean over seeds and its 95% interval of each metric of each run and view, at the last evaluation."""
        return statistics.final(statistics.summarise(self.metrics))

    @property
    def differences(self) -> pd.DataFrame:
        """Each run less each run before it, paired by seed, with 95% intervals."""
        return statistics.paired_differences(statistics.final(self.metrics))

    @property
    def plan(self) -> Plan:
        """The plan that makes it once more."""
        return recipe.plan_of(self.directory)

    def record(self, run: str | None = None) -> dict[str, Any]:
        """All that went into a run: `config.json`. `run`: its label; needed where there are several."""
        return results.read_config(self._directory_of(run))

    def policy(
        self, run: str | None = None, seed: int = 0, view: str | None = None, device: str | torch.device = "cpu"
    ) -> TrainedPolicy:
        """The trained policy of one seed. `view`: how it acts, by label; by default the run's first way."""
        return trained.load(self._directory_of(run), seed, view, device)

    def figure(self, name: str, path: str | os.PathLike | None = None) -> Path:
        """Draw a figure (`samples`, `curves`, `sweep`, ...) anew, beside the runs or at `path`; returns where."""
        if name not in FIGURES:
            raise OptionError(f"figure: {unknown_name(name, FIGURES)}")
        place = Path(path) if path is not None else self.directory / f"{name}.png"
        FIGURES[name](self.directory, statistics.summarise(self.metrics), place)
        return place

    def __repr__(self) -> str:
        return f"Results({str(self.directory)!r}): {', '.join(self._runs)}"

    def _directory_of(self, run: str | None) -> Path:
        if run is None and len(self._runs) == 1:
            return next(iter(self._runs.values()))
        if run not in self._runs:
            wanted = "name a run" if run is None else unknown_name(run, self._runs)
            raise OptionError(f"{self.directory}: {wanted}; there are {', '.join(self._runs)}")
        return self._runs[run]


def run(
    plan: Plan, out: str | os.PathLike, *, device: str = "auto", compile: str = "auto", log: Sequence[str] = ()
) -> Results:
    """Train and evaluate the runs of a plan in the directory `out`, and draw them.

    What is there already is kept, and what was cut off goes on. `device`, `compile`, `log`: as on the command line.
    Raises `OptionError` for a plan that cannot be, and `KeyboardInterrupt` where it was interrupted, after keeping what
    there is.
    """
    made, directory = make(plan), Path(out).expanduser()
    runs = together(frozen.shared(made.runs))
    loggers.refuse_missing(log)
    on = devices.chosen(device)
    conduct.begin(runs, directory, on, compile, plan.name, made.left_out)
    ended = conduct.carry_out(runs, directory, Execution(on, loggers=tuple(log)), plan.name)
    if ended.interrupted:
        raise KeyboardInterrupt
    return Results(directory, ended.table, ended.failures)


def load(directory: str | os.PathLike) -> Results:
    """What a run or a comparison left in a directory. Raises `OptionError` where there is none."""
    return Results(Path(directory).expanduser())
