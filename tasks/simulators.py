"""One environment to evaluate a policy in, one interface whoever wrote it: seeds in, numbers out, actions in [-1, 1].

A `Simulator` is a recipe, small enough to send to another process; `Simulation` is a running one. Reaching the time
limit ends an episode (truncation) without being terminal.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from importlib.metadata import PackageNotFoundError, version
from operator import getitem
from typing import Any

import numpy as np

from core.options import OptionError

#: what must be imported before an environment of this package can be made, and the extra that installs it
PLUGINS = {
    "gymnasium_robotics": "gymnasium-robotics",
    "ogbench.manipspace": "ogbench",
    "ogbench.locomaze": "ogbench",
}


@dataclass(frozen=True)
class Rules:
    """Reward and end of an episode by the rules that a reference belongs to, not by the installed environment's."""

    words: str
    #: the environment after a step, its reward, whether it ended the episode -> both by these rules
    apply: Callable[[Any, float, bool], tuple[float, bool]]


@dataclass(frozen=True)
class Simulator:
    """How to make the environment."""

    env_id: str
    limit: int
    #: paths to the parts of a dictionary observation that make the vector, in order; () where it is a vector already
    parts: tuple[tuple[str, ...], ...] = ()
    #: package that registers the environment with gymnasium, where gymnasium itself does not
    plugin: str | None = None
    make_options: Mapping[str, Any] = field(default_factory=dict)
    reset_options: Mapping[str, Any] = field(default_factory=dict)
    #: set on the environment itself, where its constructor does not take them
    attributes: Mapping[str, Any] = field(default_factory=dict)
    #: None: as the environment has them
    rules: Rules | None = None
    #: bounds `[A]` that -1 and 1 stand for; None: those of the environment
    box: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def reports_success(self) -> bool:
        """Whether it says how far an episode's task is done, as seen in one step."""
        simulation = self.start()
        simulation.reset(0)
        *_, info = simulation.step(np.zeros_like(simulation.centre))
        simulation.close()
        return achieved(info) is not None

    def physics(self) -> dict[str, str]:
        """What computed the motion: packages with versions, and the environment."""
        packages = ["mujoco", "gymnasium"] + ([PLUGINS[self.plugin]] if self.plugin else [])
        ruled = {"rules": self.rules.words} if self.rules else {}
        return {"environment": self.env_id, **{package: installed(package) for package in packages}, **ruled}

    def make(self) -> Any:
        """The environment itself."""
        gymnasium = gymnasium_with(self)
        return gymnasium.make(self.env_id, max_episode_steps=self.limit, disable_env_checker=True, **self.make_options)

    def start(self) -> Simulation:
        """A running one."""
        return Simulation(self)


def achieved(info: Mapping[str, Any]) -> float | None:
    """How much of its task an episode has done by a step, in [0, 1]; None where the environment does not say.

    1 or 0 where it is solved or not (`success`, in Fetch and the hand `is_success`), in the kitchen the share of its
    tasks.
    """
    for key in ("success", "is_success"):
        if key in info:
            return float(bool(info[key]))
    if "episode_task_completions" in info:
        done = set(info["episode_task_completions"])
        asked = done | set(info.get("tasks_to_complete", ()))
        return len(done) / len(asked) if asked else None
    return None


def installed(package: str) -> str:
    """Its version, in words where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


class Simulation:
    """A running environment."""

    def __init__(self, recipe: Simulator):
        self.recipe = recipe
        gymnasium_with(recipe)  # first, since on being imported it asks for its warnings to be shown
        with warnings.catch_warnings():
            # about the -v4 environments being old: they are the ones that match D4RL's
            warnings.simplefilter("ignore")
            self.env = recipe.make()
        for name, value in recipe.attributes.items():
            setattr(self.env.unwrapped, name, value)
        space: Any = self.env.action_space
        low, high = np.array(recipe.box or (space.low, space.high), np.float64)
        # in this form the box [-1, 1] itself is left exactly as it is
        self.centre, self.half = (high + low) / 2, (high - low) / 2

    def reset(self, seed: int) -> np.ndarray:
        """The first observation `[O]` of the episode that belongs to this seed."""
        obs, _ = self.env.reset(seed=seed, options=dict(self.recipe.reset_options) or None)
        return self._vector(obs)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step with an action `[A]` in [-1, 1]: observation, reward, terminated, truncated, info."""
        scaled = self.centre + self.half * np.clip(action, -1, 1)
        obs, reward, terminated, truncated, info = self.env.step(scaled)
        if self.recipe.rules:
            reward, terminated = self.recipe.rules.apply(self.env.unwrapped, float(reward), bool(terminated))
        return self._vector(obs), float(reward), bool(terminated), bool(truncated), info

    def _vector(self, obs: Any) -> np.ndarray:
        parts = [reduce(getitem, path, obs) for path in self.recipe.parts] if self.recipe.parts else [obs]
        return np.concatenate(parts).astype(np.float64) if len(parts) > 1 else np.asarray(parts[0], np.float64)

    def close(self) -> None:
        self.env.close()


@contextlib.contextmanager
def packages_for(name: str) -> Iterator[None]:
    """What is done inside imports packages for tasks; one line says what to install where one is missing."""
    try:
        yield
    except ImportError as error:
        raise OptionError(f"{name} needs {error.name}; pip install -r requirements-tasks.txt") from None


def gymnasium_with(recipe: Simulator):
    """gymnasium, with the recipe's environment registered; one line says what to install where it is missing."""
    with packages_for(recipe.env_id):
        import gymnasium
        import mujoco  # noqa: F401
    if recipe.plugin:
        try:
            module = quietly_imported(recipe.plugin)
        except ImportError:
            raise OptionError(
                f"{recipe.env_id} needs {PLUGINS[recipe.plugin]}; pip install {PLUGINS[recipe.plugin]}"
            ) from None
        if recipe.plugin == "gymnasium_robotics":
            gymnasium.register_envs(module)
    return gymnasium


def quietly_imported(package: str):
    """The package, without the advice it prints about environments that are not used here."""
    with contextlib.redirect_stderr(io.StringIO()):
        return importlib.import_module(package)
