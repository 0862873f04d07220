"""`--backend d4rl`: the stack of the papers itself, d4rl 1.1 + gym 0.23 + mujoco-py, for data and evaluation.

Transitions come from `d4rl.qlearning_dataset`, episodes from gym's environments in MuJoCo 2.1.0; score references are
d4rl's own. scripts/install_d4rl.sh makes an environment with all of it. Its antmaze draws goal and start from NumPy's
global generator: here all environments are made after the same seed, so that they share a goal, and every episode
seeds it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks.d4rl_files import locate
from tasks.d4rl_names import D4RL, Entry
from tasks.d4rl_reader import QLearning, load
from tasks.simulators import Simulator, installed

#: domain -> the part of d4rl that registers its environments; each imports alone, `import d4rl` registers nothing
MODULES = {"locomotion": "d4rl.gym_mujoco", "antmaze": "d4rl.locomotion", "maze2d": "d4rl.pointmaze"}
#: why the other domains' environments do not start in this stack
BROKEN = {
    "adroit": "they need mjrl, which is on no package index",
    "kitchen": "their model does not load in the MuJoCo that dm-control brings",
}
PACKAGES = ("d4rl", "gym", "mujoco_py")
INSTALL = "scripts/install_d4rl.sh makes an environment with it: activate that first"


@dataclass(frozen=True)
class StackSimulator(Simulator):
    """A recipe for d4rl's own environment."""

    module: str = ""

    def physics(self) -> dict[str, str]:
        """What computed the motion: the stack's packages with versions, MuJoCo's own, and the environment."""
        from mujoco_py.cymj import _mj_version

        numbers = {package: installed(package) for package in ("d4rl", "gym", "mujoco-py")}
        major, minor, patch = list(str(_mj_version()))  # 210 is 2.1.0
        return {"environment": self.env_id, **numbers, "mujoco": f"{major}.{minor}.{patch}"}

    def start(self) -> StackSimulation:  # type: ignore[override]
        """A running one."""
        return StackSimulation(self)


class StackSimulation:
    """A running environment of d4rl's, with the face of `tasks.simulators.Simulation`."""

    def __init__(self, recipe: StackSimulator):
        gym = _registered(recipe.module)
        with _global_seed(0), contextlib.redirect_stdout(io.StringIO()):
            self.env = gym.make(recipe.env_id)
        low, high = (bound.astype(np.float64) for bound in (self.env.action_space.low, self.env.action_space.high))
        self.centre, self.half = (high + low) / 2, (high - low) / 2

    def reset(self, seed: int) -> np.ndarray:
        """The first observation `[O]` of the episode that belongs to this seed."""
        with _global_seed(seed):
            layer = self.env.unwrapped
            while layer is not None:  # antmaze's layers do not pass a seed on
                layer.seed(seed)
                layer = vars(layer).get("_wrapped_env")
            return np.asarray(self.env.reset(), np.float64)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step with an action `[A]` in [-1, 1]: observation, reward, terminated, truncated, info."""
        obs, reward, done, info = self.env.step(self.centre + self.half * np.clip(action, -1, 1))
        truncated = bool(done and info.get("TimeLimit.truncated", False))
        return np.asarray(obs, np.float64), float(reward), bool(done) and not truncated, truncated, info

    def close(self) -> None:
        self.env.close()


@contextlib.contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    """NumPy's global generator seeded for a while, and then as it was."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _registered(module: str):
    """gym, with this part of d4rl registered and both kept from talking."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import gym

        gym.logger.set_level(gym.logger.ERROR)
        importlib.import_module(module)
    return gym


def simulator(name: str) -> StackSimulator:
    """The stack's environment of a dataset. Raises `OptionError`, one line, where the stack is not here or lacks it."""
    if name not in D4RL:
        raise OptionError(f"--backend d4rl: {name} is not a dataset of D4RL; it takes hopper-medium-v2 and the like")
    entry = D4RL[name]
    if entry.domain in BROKEN:
        served = ", ".join(MODULES)
        raise OptionError(f"--backend d4rl: no {entry.domain} environments, {BROKEN[entry.domain]}; it has {served}")
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise OptionError(f"--backend d4rl: {', '.join(missing)} not installed here; {INSTALL}")
    try:
        gym = _registered(MODULES[entry.domain])
    except Exception as error:  # mujoco-py raises a bare Exception where MuJoCo is not found
        raise OptionError(f"--backend d4rl: d4rl does not start ({first_line(error)}); {INSTALL}") from None
    if name not in gym.envs.registry.env_specs:
        raise OptionError(f"--backend d4rl: d4rl {installed('d4rl')} registers no {name}")
    return StackSimulator(name, entry.limit, module=MODULES[entry.domain])


def transitions(entry: Entry, nearest: str) -> QLearning:
    """What `d4rl.qlearning_dataset` makes of the dataset's file, which is found, fetched and checked as ever."""

    def check(path) -> None:
        load(path, entry.obs_dim, entry.act_dim, entry.limit)

    path = locate(entry, check, nearest)
    check(path)  # its one line instead of an assertion of d4rl's
    env = simulator(entry.name).start().env
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        import d4rl

        made = d4rl.qlearning_dataset(env, env.get_dataset(str(path)))
    env.close()
    return QLearning(**made)
