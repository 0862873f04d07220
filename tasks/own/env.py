"""A simulator that the user names on the command line: a registered id, or code of their own. Data name none here."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks import minari_environment
from tasks.minari_environment import Evaluated, MinariSimulator
from tasks.simulators import Simulation, Simulator, packages_for

OPTION = "--task.env"
#: `--task.env`: evaluate without a simulator, whatever the data name
NOWHERE = "none"


@dataclass(frozen=True)
class Registered(MinariSimulator):
    """One of gymnasium's registry."""

    def physics(self) -> dict[str, str]:
        return Simulator.physics(self)


@dataclass(frozen=True)
class Own(Simulator):
    """What a function of the user's own module makes, `module:function`, or gymnasium by an id it registers."""

    def make(self) -> Any:
        """The environment, ended after `limit` steps. Raises `OptionError` where the function fails."""
        import gymnasium

        module, _, name = self.env_id.partition(":")
        with importable_here():
            try:
                maker = getattr(importlib.import_module(module), name, None)
                env = maker() if callable(maker) else gymnasium.make(self.env_id, disable_env_checker=True)
            except Exception as error:  # it is the user's code
                raise OptionError(f"{OPTION} {self.env_id}: cannot be made ({first_line(error)})") from None
        if not isinstance(env, gymnasium.Env):
            raise OptionError(f"{OPTION} {self.env_id}: made a {type(env).__name__}, expected a gymnasium.Env")
        return env if _is_limited(env) else gymnasium.wrappers.TimeLimit(env, self.limit)


def _is_limited(env: Any) -> bool:
    return env.spec is not None and env.spec.max_episode_steps is not None


@contextlib.contextmanager
def importable_here():
    """Modules in the working directory can be imported, as a user who names one expects."""
    here = os.getcwd()
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def named(env_id: str, parts: tuple[tuple[str, ...], ...], longest: int) -> Evaluated:
    """How policies are evaluated in the environment the user named; `longest`: steps of the longest episode there.

    Raises `OptionError` where there is none of this name.
    """
    if env_id == NOWHERE:
        return Evaluated(None, longest or minari_environment.LIMIT, None)
    if ":" in env_id:
        limit = longest or minari_environment.LIMIT
        return Evaluated(Own(env_id, limit, parts), limit, None)
    with packages_for(f"{OPTION} {env_id}"):
        told = minari_environment.of(OPTION, {"eval_env_spec": {"id": env_id}}, parts, longest)
    found = told.simulator
    assert isinstance(found, MinariSimulator)
    simulator = Registered(
        found.env_id, found.limit, parts, plugin=found.plugin, rules=found.rules, described=found.described
    )
    return Evaluated(simulator, told.limit, told.reference, told.notes)


def box(simulator: Simulator, obs_dim: int, act_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of its actions `[A]`. Raises `OptionError` where it is not one of the data's shapes."""
    try:
        simulation = simulator.start()
    except OptionError:
        raise
    except Exception as error:  # what a constructor raises depends on the environment
        raise OptionError(f"{OPTION} {simulator.env_id}: cannot be made ({first_line(error)})") from None
    try:
        _refuse_other_shapes(simulator.env_id, simulation, obs_dim, act_dim)
        return simulation.centre - simulation.half, simulation.centre + simulation.half
    finally:
        simulation.close()


def _refuse_other_shapes(env_id: str, simulation: Simulation, obs_dim: int, act_dim: int) -> None:
    try:
        got = simulation.reset(0).shape
    except Exception as error:  # observations that are no vector fail in as many ways
        raise OptionError(f"{OPTION} {env_id}: its observations are no vector ({first_line(error)})") from None
    for what, of_env, of_data in (("observations", got, obs_dim), ("actions", simulation.half.shape, act_dim)):
        if of_env != (of_data,):
            raise OptionError(f"{OPTION} {env_id}: its {what} have shape {of_env}, those of the data ({of_data},)")
    if not np.isfinite([simulation.centre, simulation.half]).all() or (simulation.half <= 0).any():
        raise OptionError(f"{OPTION} {env_id}: its actions are not in a bounded box; policies here act in one")
