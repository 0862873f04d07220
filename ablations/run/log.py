"""What may be watched while a run trains: losses, Q and gradient norms every so many steps, and every evaluation.

A file of comma-separated values always follows, `NAME.log.csv` beside the run's directory, which moves into it as
`log.csv` when the run is whole. It is written as training goes, so that half a run can be plotted, and a run that goes
on after a kill ends with the same file as one that was not stopped. Loggers (loggers.py) follow too where asked for.
None of them can stop a run.
"""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ablations.plan.config import RunConfig
from ablations.run.execution import Execution
from ablations.run.loggers import Followers
from core.options import first_line
from tasks.base import Evaluation

COLUMNS = ["step", "selection", "sampler", "metric", "seed", "value"]
#: rows of losses in a run, unless asked otherwise
ROWS = 200


class Log:
    """The log of one run, or of one group of its seeds: a file, and who else follows."""

    def __init__(self, run: RunConfig, path: Path, execution: Execution):
        """`path`: of the file, which is looked at when training `begin`s."""
        self.path, self._run = path, run
        self._every = execution.log_every or max(run.budget.steps // ROWS, 1)
        self._followers = Followers(execution.loggers, run, path)
        #: bytes of the file that belong to the run so far
        self.length = 0
        self._fails = False

    def begin(self, step: int, length: int) -> None:
        """Training begins at a step; of what an earlier process wrote `length` bytes belong to it."""
        try:
            if length and self.path.is_file():
                with open(self.path, "r+b") as file:
                    file.truncate(min(length, self.path.stat().st_size))
                self.length = self.path.stat().st_size
            else:
                self.path.unlink(missing_ok=True)
                self._append(_line(COLUMNS))
        except OSError as error:
            self._give_up(error)
        self._followers.begin(step)

    def is_due(self, before: int, step: int) -> bool:
        """Whether losses are to be written at `step`, the look before having been at step `before`."""
        return step // self._every > before // self._every or step == self._run.budget.steps

    def losses(self, step: int, values: Mapping[str, np.ndarray]) -> None:
        """Losses, Q and gradient norms `[S]` at a step; what is not finite is left out."""
        self._note(step, "", "", values, "training")

    def evaluations(self, step: int, scores: Sequence[Evaluation]) -> None:
        """What each view of the run scored at a step."""
        for view, scored in zip(self._run.views, scores, strict=True):
            self._note(step, view.selection_label, view.sampler_label, scored.metrics, "evaluation")

    def end(self) -> None:
        """Training is over; the file stays where it is."""
        self._followers.end()

    def put(self, directory: Path) -> None:
        """Copy the file into the run's directory, if there is one."""
        if not self._fails:
            shutil.copyfile(self.path, directory / "log.csv")

    def _note(self, step: int, selection: str, sampler: str, values: Mapping[str, np.ndarray], kind: str) -> None:
        finite = {
            name: {seed: v for seed, v in zip(self._run.seeds, of_seeds.tolist(), strict=True) if np.isfinite(v)}
            for name, of_seeds in values.items()
        }
        rows = [
            _line([step, selection, sampler, name, seed, v]) for name, one in finite.items() for seed, v in one.items()
        ]
        try:
            if not self._fails:
                self._append("".join(rows))
        except OSError as error:
            self._give_up(error)
        several = len(self._run.views) > 1 and kind == "evaluation"
        view = "".join(f" {part}" for part in (selection, sampler) if part) if several else ""
        self._followers.note(step, {f"{kind}{view}/{name}": one for name, one in finite.items() if one})

    def _append(self, text: str) -> None:
        """Raises `OSError`, and then the file holds no half of `text` that is counted."""
        with open(self.path, "ab") as file:
            file.truncate(self.length)
            file.write(text.encode())
        self.length += len(text.encode())

    def _give_up(self, error: OSError) -> None:
        print(f"{self._run.label}: cannot write {self.path} ({first_line(error)}); trains on without", file=sys.stderr)
        self._fails = True


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()
