"""Many simulations stepped as one, here or in worker processes; the numbers are the same wherever they run.

Axes: m environments, O observation, A action. An environment whose episode is over stands still: its observation
stays, its reward is 0, and nothing restarts it behind the caller's back.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import sys
import types
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize

import numpy as np

from tasks.simulators import Simulator, achieved

#: below this many environments a worker's share costs more in messages than it saves
PER_WORKER = 8


@dataclass
class Moment:
    """Where all environments stand after a step."""

    obs: np.ndarray  # [m, O]
    reward: np.ndarray  # [m]
    terminated: np.ndarray  # [m] bool
    truncated: np.ndarray  # [m] bool
    success: np.ndarray  # [m] the most of its task an episode has done (`achieved`); nan where never reported

    @property
    def over(self) -> np.ndarray:
        return self.terminated | self.truncated


class Fleet:
    """`count` simulations in this process."""

    def __init__(self, recipe: Simulator, count: int):
        self.simulations = [recipe.start() for _ in range(count)]

    def reset(self, seeds: np.ndarray) -> Moment:
        """Start an episode in each, from `seeds` `[m]`."""
        obs = np.stack([sim.reset(int(seed)) for sim, seed in zip(self.simulations, seeds, strict=True)])
        count = len(seeds)
        self.now = Moment(obs, np.zeros(count), np.zeros(count, bool), np.zeros(count, bool), np.full(count, np.nan))
        return self.now

    def step(self, actions: np.ndarray) -> Moment:
        """Step those whose episode is not over with their row of `actions` `[m, A]`."""
        before, self.now = self.now, _copy(self.now)
        self.now.reward[:] = 0
        for i in np.flatnonzero(~before.over):
            obs, reward, terminated, truncated, info = self.simulations[i].step(actions[i])
            self.now.obs[i], self.now.reward[i] = obs, reward
            self.now.terminated[i], self.now.truncated[i] = terminated, truncated
            done = achieved(info)
            if done is not None:
                self.now.success[i] = np.fmax(self.now.success[i], done)
        return self.now

    def close(self) -> None:
        for simulation in self.simulations:
            simulation.close()


def _copy(moment: Moment) -> Moment:
    return Moment(*(getattr(moment, name).copy() for name in Moment.__dataclass_fields__))


class Workers:
    """The same in `workers` processes, each with a share of the simulations."""

    def __init__(self, recipe: Simulator, count: int, workers: int):
        # forkserver: a fork of a process that holds CUDA or thread pools is not safe
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tasks.fleet", "gymnasium", "mujoco"])
        bounds = np.linspace(0, count, workers + 1).astype(int)
        self.cuts = bounds[1:-1]
        self.pipes: list[Connection] = []
        self._asked = 0
        self.processes = []
        for share in np.diff(bounds):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, recipe, int(share)), daemon=True)
            _start(process)
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        # with a priority it runs at exit before multiprocessing's SIGTERM to the workers, which do not hear it
        self.close = Finalize(self, _dismiss, (self.pipes, self.processes), exitpriority=1)

    def reset(self, seeds: np.ndarray) -> Moment:
        return self._ask("reset", seeds)

    def step(self, actions: np.ndarray) -> Moment:
        return self._ask("step", actions)

    def _ask(self, method: str, rows: np.ndarray) -> Moment:
        self._asked += 1
        try:
            for pipe, share in zip(self.pipes, np.split(rows, self.cuts), strict=True):
                pipe.send((self._asked, method, share))
            answers = [self._answer(pipe) for pipe in self.pipes]
        except (EOFError, ConnectionError) as error:
            why = "one of their processes ended before it answered; was it killed, for memory?"
            raise OSError(errno.EPIPE, why, "simulators") from error
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        names = Moment.__dataclass_fields__
        return Moment(*(np.concatenate([getattr(answer, name) for answer in answers]) for name in names))

    def _answer(self, pipe: Connection) -> Moment | Exception:
        """To the last question: one that ctrl-C cut off has left its answer in the pipe."""
        number, answer = pipe.recv()
        while number < self._asked:
            number, answer = pipe.recv()
        return answer


def _start(process: multiprocessing.Process | multiprocessing.process.BaseProcess) -> None:
    """Start a worker that does not import the script that was started, which may have no main guard."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        process.start()
    except (pickle.PicklingError, AttributeError):
        # the environment is defined in that script, so the worker needs it
        sys.modules["__main__"] = script
        process.start()
    finally:
        sys.modules["__main__"] = script


def _serve(pipe: Connection, recipe: Simulator, count: int) -> None:
    """A worker's life: one answer for each request, an exception as an answer; ends when the pipe closes."""
    # ctrl-C and a cluster's notice reach all processes, and are for the one that asks: it wants a last evaluation
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    fleet = None
    try:
        while True:
            number, method, rows = pipe.recv()
            try:
                fleet = fleet or Fleet(recipe, count)
                pipe.send((number, getattr(fleet, method)(rows)))
            except Exception as error:
                pipe.send((number, error))
    except (EOFError, BrokenPipeError):
        pass


def _dismiss(pipes: list[Connection], processes) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.join(timeout=5)


def launch(recipe: Simulator, count: int, workers: int | None = None) -> Fleet | Workers:
    """Simulations for `count` episodes at a time; `workers` None decides by their number and this machine's cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(cores, count // PER_WORKER) if workers is None else workers
    return Workers(recipe, count, workers) if workers > 1 else Fleet(recipe, count)
