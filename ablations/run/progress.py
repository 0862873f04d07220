"""Where a long run stands, in one file beside its directory: the same command then goes on after whatever ended it.

The file is `.{name}.{first seed}.progress`, written whole every five minutes and when a signal ends the run, and
removed when the run is there. Beside it stays the one before, `.previous`, for where it is damaged. A run that goes on
is bit for bit one that was not stopped, so a file left by other options, code or packages is not taken up.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations.plan.config import RunConfig
from ablations.record.environment import environment
from ablations.run.outcome import Outcome
from core import fusion
from core.options import first_line
from tasks.base import Evaluation
from trainers import checkpoint

#: seconds between two writings of the file
EVERY = 300.0
#: the ending of the file before the last
PREVIOUS = ".previous"


class Progress:
    """The file of one run, or of one group of its seeds."""

    def __init__(self, run: RunConfig, directory: Path, device: torch.device, every: float | None = None):
        """`directory`: where the run will be; `every`: seconds between two writings, `EVERY` by default."""
        self.path = _path(run, directory)
        made_in = environment()
        made_by = {name: made_in[name] for name in ("git", "packages", "machine", "threads", "gpu")}
        made_by["device"] = device.type
        self._of = json.dumps([run.record(), made_by, fusion.fused()], sort_keys=True)
        self._label, self._written = run.label, time.monotonic()
        self._every = EVERY if every is None else every
        #: step and number of evaluations of what was written last
        self._holds: tuple[int, int] | None = None

    def restore(self, outcome: Outcome) -> int:
        """Put a run that has just begun where the file says, if there is one and it is this run's.

        Returns how many bytes of the run's log are of what was taken up.

        A damaged file is put aside and said, and the one before it taken up.
        """
        for path in (self.path, self.path.with_suffix(PREVIOUS)):
            try:
                stored = _read(path)
            except checkpoint.UNREADABLE as error:
                aside = _put_aside(path, ".damaged")
                print(f"{self._label}: {path.name} is damaged ({first_line(error)}), now {aside}", file=sys.stderr)
                continue
            if stored is None:
                continue
            if stored["of"] == self._of:
                self._take_up(stored, outcome)
                return stored["logged"]
            aside, what = _put_aside(path, ".other"), self._differing(stored["of"])
            print(f"{self._label}: begins anew; what was kept is of other {what}, now {aside}", file=sys.stderr)
        return 0

    def _take_up(self, stored: dict[str, Any], outcome: Outcome) -> None:
        checkpoint.put(stored["checkpoint"], outcome.trainer, outcome.rng)
        outcome.halting.load_state_dict(stored["halting"])
        outcome.latest = stored["latest"]
        outcome.evaluations = [(step, [_evaluated(one) for one in views]) for step, views in stored["evaluations"]]
        outcome.losses = [(step, _arrays(losses)) for step, losses in stored["losses"]]
        outcome.seconds = stored["seconds"]
        print(f"{self._label}: goes on from step {outcome.trainer.step}", file=sys.stderr)

    def _differing(self, other: str) -> str:
        (run, made_by, _), (asked, now, _) = json.loads(other), json.loads(self._of)
        differ = [name for name in now if made_by.get(name) != now[name]]
        return ", ".join([*differ, *(["options"] if run != asked else [])]) or "compilation"

    def keep(self, outcome: Outcome, *, now: bool = False) -> None:
        """Write the file if it is time, or `now`, unless what it would hold is what it holds."""
        holds = (outcome.trainer.step, len(outcome.evaluations))
        if holds == self._holds or (not now and time.monotonic() - self._written < self._every):
            return
        try:
            following = self.path.with_suffix(".next")
            checkpoint.write(self._content(outcome), following)
            if self.path.is_file():
                self.path.replace(self.path.with_suffix(PREVIOUS))
            following.replace(self.path)
            self._holds = holds
        except OSError as error:
            print(f"{self._label}: cannot write {self.path} ({first_line(error)}); trains on", file=sys.stderr)
        self._written = time.monotonic()

    def _content(self, outcome: Outcome) -> dict[str, Any]:
        last = len(outcome.evaluations) - 1
        return {
            "of": self._of,
            "checkpoint": checkpoint.of(outcome.trainer, outcome.rng),
            "halting": outcome.halting.state_dict(),
            "latest": outcome.latest,
            "evaluations": [
                (step, [_plain(one, samples=place == last) for one in views])
                for place, (step, views) in enumerate(outcome.evaluations)
            ],
            "losses": [(step, _tensors(losses)) for step, losses in outcome.losses],
            "seconds": outcome.seconds,
            "logged": outcome.log.length,
        }


def seeds_together(run: RunConfig, directory: Path) -> int | None:
    """How many of the run's seeds were trained together when it was killed; None where nothing of it is kept."""
    path = _path(run, directory)
    stored = _whole(path) or _whole(path.with_suffix(PREVIOUS))
    if stored is None:
        return None
    kept = json.loads(stored["of"])[0]
    asked = json.loads(json.dumps(run.record()))
    return len(kept["seeds"]) if {**kept, "seeds": asked["seeds"]} == asked else None


def _path(run: RunConfig, directory: Path) -> Path:
    return directory.parent / f".{directory.name}.{run.seeds[0]}.progress"


def _read(path: Path) -> dict[str, Any] | None:
    """What a file holds; None where there is none. Raises one of `checkpoint.UNREADABLE` where it is damaged."""
    if not os.path.lexists(path):
        return None
    stored = checkpoint.read(path, sealed=True)
    run, made_by, compiled = json.loads(stored["of"])
    if not isinstance(run, dict) or not isinstance(made_by, dict) or not isinstance(compiled, bool):
        raise ValueError("it is not the progress of a run")
    return stored


def _whole(path: Path) -> dict[str, Any] | None:
    try:
        return _read(path)
    except checkpoint.UNREADABLE:
        return None


def _put_aside(path: Path, suffix: str) -> str:
    """Rename what is not taken up, in place of what was put aside before; returns its name."""
    aside = path.with_suffix(suffix)
    _remove(aside)
    return path.replace(aside).name


def clear(directory: Path) -> None:
    """Remove what was kept of the run that is, or would have been, in `directory`, and what it was killed over."""
    endings = "progress|previous|next|partial|other|damaged"
    name = re.escape(directory.name)
    own = re.compile(rf"\.{name}(\.\d+\.({endings})|-[a-z0-9_]{{8}})|{name}(\.\d+)?\.log\.csv")
    for path in filter(lambda path: own.fullmatch(path.name), directory.absolute().parent.iterdir()):
        with contextlib.suppress(OSError):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _plain(evaluated: Evaluation, *, samples: bool) -> dict[str, Any]:
    """Figures show the samples of the last evaluation and of no other."""
    return {"metrics": _tensors(evaluated.metrics), "samples": _tensors(evaluated.samples) if samples else {}}


def _evaluated(stored: dict[str, Any]) -> Evaluation:
    return Evaluation(_arrays(stored["metrics"]), _arrays(stored["samples"]))
