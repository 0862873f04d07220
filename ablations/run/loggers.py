"""TensorBoard, Weights & Biases, Trackio: each follows a run from a thread of its own, and none can stop or slow it.

Every package is optional, and looked for before anything is trained. A logger that fails, or does not answer, is given
up with a line. What each is given: `training/NAME` and `evaluation/NAME` by seed, and their mean over seeds.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ablations.plan.config import RunConfig
from core.options import OptionError, first_line

#: seconds that a logger may take to finish what it was given, when training is over
PATIENCE = 30.0
#: metric -> seed -> value
Values = Mapping[str, Mapping[int, float]]


class Logger(Protocol):
    """Called from one thread, in order; whatever it raises ends it and nothing else."""

    def note(self, step: int, values: Values) -> None:
        """Take what was measured at a step."""

    def end(self) -> None:
        """No more will come."""


class TensorBoard:
    """Event files below `tensorboard/NAME` beside the run's directory: one directory for each seed, one for the mean.

    `tensorboard --logdir` of the directory of results shows seeds and mean as curves of one chart.
    """

    package = "tensorboard"

    def __init__(self, run: RunConfig, beside: Path, name: str, step: int):
        from torch.utils.tensorboard import SummaryWriter

        def writer(part: str) -> SummaryWriter:
            # what an earlier process wrote of later steps is not shown
            return SummaryWriter(str(beside / "tensorboard" / name / part), purge_step=step + 1 if step else None)

        self._seeds = {seed: writer(f"seed-{seed}") for seed in run.seeds}
        self._mean = writer("mean")

    def note(self, step: int, values: Values) -> None:
        for name, of_seeds in values.items():
            for seed, value in of_seeds.items():
                self._seeds[seed].add_scalar(name, value, step)
            self._mean.add_scalar(name, _mean(of_seeds), step)
        for writer in self._writers():
            writer.flush()

    def end(self) -> None:
        for writer in self._writers():
            writer.close()

    def _writers(self) -> list[Any]:
        return [*self._seeds.values(), self._mean]


class Tracker:
    """What Weights & Biases and Trackio share: one run of theirs for each of ours, whose metrics are `NAME/seed-0`."""

    package: str

    def __init__(self, run: RunConfig, beside: Path, name: str, step: int):
        self._module = importlib.import_module(self.package)
        self._run = self._module.init(project="policy-ablation", config=run.record(), **self._named(run, beside, name))

    def _named(self, run: RunConfig, beside: Path, name: str) -> dict[str, Any]:
        raise NotImplementedError

    def note(self, step: int, values: Values) -> None:
        each = {f"{name}/seed-{seed}": value for name, one in values.items() for seed, value in one.items()}
        self._run.log({**each, **{f"{name}/mean": _mean(one) for name, one in values.items()}}, step=step)

    def end(self) -> None:
        self._run.finish()


class WeightsAndBiases(Tracker):
    """`wandb/` beside the run's directory; sent where one has logged in, or as WANDB_MODE says."""

    package = "wandb"

    def note(self, step: int, values: Values) -> None:
        try:
            super().note(step, values)
        except Exception:
            # where its service is gone it would fail again, with a traceback, when the process ends
            with contextlib.suppress(Exception):
                self._module.teardown(exit_code=1)
            raise

    def _named(self, run: RunConfig, beside: Path, name: str) -> dict[str, Any]:
        account = self._module.api.api_key
        beside.mkdir(parents=True, exist_ok=True)
        return {
            "name": name,
            "group": beside.name,
            "dir": str(beside),
            "mode": os.environ.get("WANDB_MODE") or ("online" if account else "offline"),
            "id": hashlib.sha256(f"{beside.absolute()}/{name}".encode()).hexdigest()[:16],
            "resume": "allow",
            "settings": self._module.Settings(silent=True, console="off"),
        }


class Trackio(Tracker):
    """Trackio's own directory on this machine; `trackio show` opens it."""

    package = "trackio"

    def _named(self, run: RunConfig, beside: Path, name: str) -> dict[str, Any]:
        return {"name": f"{beside.name}/{name}", "resume": "allow", "embed": False}


LOGGERS: dict[str, Any] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio}


def refuse_missing(names: Sequence[str]) -> None:
    """Raise `OptionError` where a logger's package is not installed."""
    for name in names:
        package = LOGGERS[name].package
        if importlib.util.find_spec(package) is None:
            raise OptionError(f"--log {name}: needs the package {package}; install it with: pip install {package}")


class Followers:
    """The loggers of one run, each in a thread."""

    def __init__(self, names: Sequence[str], run: RunConfig, path: Path):
        """`path`: of the run's log, `NAME.log.csv`."""
        self._made = {
            name: lambda step, logger=LOGGERS[name]: logger(run, path.parent, path.name.removesuffix(".log.csv"), step)
            for name in names
        }
        self._label = run.label
        self._threads: list[_Follower] = []

    def begin(self, step: int) -> None:
        """Training begins at a step."""
        self._threads = [_Follower(f"{self._label}: {name}", make, step) for name, make in self._made.items()]

    def note(self, step: int, values: Values) -> None:
        """Give all of them what was measured at a step."""
        for follower in self._threads:
            follower.put((step, values))

    def end(self) -> None:
        """Wait for those that can still end."""
        for follower in self._threads:
            follower.end()


class _Follower:
    def __init__(self, name: str, make: Callable[[int], Logger], step: int):
        self._name, self._make, self._step = name, make, step
        self._queue: queue.SimpleQueue[tuple[int, Values] | None] = queue.SimpleQueue()
        # a daemon: a logger that hangs does not keep the process
        self._thread = threading.Thread(target=self._follow, name=name, daemon=True)
        self._thread.start()

    def put(self, noted: tuple[int, Values]) -> None:
        if self._thread.is_alive():
            self._queue.put(noted)

    def end(self) -> None:
        self._queue.put(None)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            print(f"{self._name} did not end within {PATIENCE:g} s; left to itself", file=sys.stderr)

    def _follow(self) -> None:
        try:
            logger = self._make(self._step)
            while (noted := self._queue.get()) is not None:
                logger.note(*noted)
            logger.end()
        except Exception as error:
            # whatever another's package raises: training goes on
            print(f"{self._name} failed ({first_line(error)}); trains on without", file=sys.stderr)


def _mean(of_seeds: Mapping[int, float]) -> float:
    return sum(of_seeds.values()) / len(of_seeds)
