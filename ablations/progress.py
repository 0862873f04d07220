"""Where a long run stands, in one file beside its directory: the same command then goes on after whatever ended it.

The file is `.{name}.{first seed}.progress`, written whole every five minutes, and removed when the run is there. A run
that goes on is bit for bit one that was not stopped, so a file left by other options, code or packages is not taken up.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ablations import results
from ablations.config import RunConfig
from core import fusion
from core.options import first_line
from tasks.base import Evaluation
from trainers import checkpoint

if TYPE_CHECKING:
    from ablations.runner import Outcome

#: seconds between two writings of the file
EVERY = 300.0


class Progress:
    """The file of one run, or of one group of its seeds."""

    def __init__(self, run: RunConfig, directory: Path, device: torch.device):
        """`directory`: where the run will be."""
        self.path = _path(run, directory)
        environment = results.environment()
        made_by = {name: environment[name] for name in ("git", "packages", "machine", "threads", "gpu")}
        made_by["device"] = device.type
        self._of = json.dumps([run.record(), made_by, fusion.fused()], sort_keys=True)
        self._label, self._written = run.label, time.monotonic()

    def restore(self, outcome: Outcome) -> None:
        """Put a run that has just begun where the file says, if there is one and it is this run's."""
        stored = _read(self.path)
        if stored is None:
            return
        if stored["of"] != self._of:
            self._put_aside(stored["of"])
            return
        checkpoint.put(stored["checkpoint"], outcome.trainer, outcome.rng)
        if outcome.stopping:
            outcome.stopping.load_state_dict(stored["stopping"])
        outcome.evaluations = [(step, [_judged(one) for one in views]) for step, views in stored["evaluations"]]
        outcome.losses = [(step, _arrays(losses)) for step, losses in stored["losses"]]
        outcome.seconds = stored["seconds"]
        print(f"{self._label}: goes on from step {outcome.trainer.step}", file=sys.stderr)

    def _put_aside(self, other: str) -> None:
        (run, made_by, _), (asked, now, _) = json.loads(other), json.loads(self._of)
        differ = [name for name in now if made_by.get(name) != now[name]]
        what = ", ".join([*differ, *(["options"] if run != asked else [])]) or "compilation"
        aside = self.path.replace(self.path.with_suffix(".other"))
        print(f"{self._label}: begins anew; what was kept is of other {what}, now {aside.name}", file=sys.stderr)

    def keep(self, outcome: Outcome, *, done: bool = False) -> None:
        """Write the file if it is time; `done`: also where a run that was long enough to need one has ended."""
        if time.monotonic() - self._written < EVERY and not (done and outcome.seconds >= EVERY):
            return
        last = len(outcome.evaluations) - 1
        stored = {
            "of": self._of,
            "checkpoint": checkpoint.of(outcome.trainer, outcome.rng),
            "stopping": outcome.stopping.state_dict() if outcome.stopping else {},
            "evaluations": [
                (step, [_plain(one, samples=place == last) for one in views])
                for place, (step, views) in enumerate(outcome.evaluations)
            ],
            "losses": [(step, _tensors(losses)) for step, losses in outcome.losses],
            "seconds": outcome.seconds,
        }
        try:
            checkpoint.write(stored, self.path)
        except OSError as error:
            print(f"{self._label}: cannot write {self.path} ({first_line(error)}); trains on", file=sys.stderr)
        self._written = time.monotonic()


def seeds_together(run: RunConfig, directory: Path) -> int | None:
    """How many of the run's seeds were trained together when it was killed; None where nothing of it is kept."""
    stored = _read(_path(run, directory))
    if stored is None:
        return None
    kept = json.loads(stored["of"])[0]
    asked = json.loads(json.dumps(run.record()))
    return len(kept["seeds"]) if {**kept, "seeds": asked["seeds"]} == asked else None


def _path(run: RunConfig, directory: Path) -> Path:
    return directory.parent / f".{directory.name}.{run.seeds[0]}.progress"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        stored = checkpoint.read(path)
    except checkpoint.UNREADABLE:
        return None
    return stored if isinstance(stored, dict) and "of" in stored else None


def clear(directory: Path) -> None:
    """Remove what was kept of the run that is, or would have been, in `directory`, and what it was killed over."""
    own = re.compile(rf"\.{re.escape(directory.name)}(\.\d+\.(progress|partial|other)|-\w{{8}})")
    for path in filter(lambda path: own.fullmatch(path.name), directory.parent.iterdir()):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _arrays(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _plain(judged: Evaluation, *, samples: bool) -> dict[str, Any]:
    """Figures show the samples of the last evaluation and of no other."""
    return {"metrics": _tensors(judged.metrics), "samples": _tensors(judged.samples) if samples else {}}


def _judged(stored: dict[str, Any]) -> Evaluation:
    return Evaluation(_arrays(stored["metrics"]), _arrays(stored["samples"]))
