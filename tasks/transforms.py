"""What published methods do to rewards and observations before learning, by name, and the options that choose.

Axes: n transitions, O observation. Nothing here sees the simulator: scores are always of the rewards as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from core.options import OptionError, Options, option
from tasks.d4rl_reader import QLearning
from tasks.validation import first_rows

Rewards = Callable[[QLearning], np.ndarray]


def raw(data: QLearning) -> np.ndarray:
    """As they are: Diffusion-QL on locomotion, maze2d and kitchen."""
    return data.rewards


def antmaze(data: QLearning) -> np.ndarray:
    """4 (r - 1/2): CQL and Diffusion-QL on antmaze."""
    return 4 * (data.rewards - 0.5)


def iql_antmaze(data: QLearning) -> np.ndarray:
    """r - 1: IQL on antmaze."""
    return data.rewards - 1


def standardise(data: QLearning) -> np.ndarray:
    """Mean 0, deviation 1 (n - 1 in the denominator): Diffusion-QL on adroit."""
    rewards = data.rewards.astype(np.float64)
    _refuse_no_spread("standardise", "rewards", rewards)
    return (rewards - rewards.mean()) / rewards.std(ddof=1)


def iql_locomotion(data: QLearning) -> np.ndarray:
    """1000 r / (largest - smallest return of an episode): IQL on locomotion (ikostrikov/implicit_q_learning)."""
    returns = episode_returns(data)
    _refuse_no_spread("iql-locomotion", "returns of episodes", returns)
    return 1000 * data.rewards / (returns.max() - returns.min())


def _refuse_no_spread(transform: str, what: str, values: np.ndarray) -> None:
    """Raise `OptionError` where a transform would divide by the spread of values that have none."""
    if len(values) < 2 or not np.ptp(values) > 1e-12 * np.abs(values).max():
        alike = f"all {len(values)} are {values[0]:.6g}" if len(values) > 1 else "there is one"
        raise OptionError(
            f"--task.reward {transform} divides by the spread of the {what}, which have none ({alike}); "
            "use --task.reward raw"
        )


def transformed(name: str, data: QLearning) -> np.ndarray:
    """Rewards `[n]` as the transform called `name` makes them, float32.

    Raises `OptionError` where they cannot be, or are not finite.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rewards = REWARDS[name](data).astype(np.float32)
    if not np.isfinite(rewards).all():
        row = int(np.flatnonzero(~np.isfinite(rewards))[0])
        raise OptionError(
            f"--task.reward {name} makes of reward {row}, {data.rewards[row]:.6g}, {rewards[row]}; "
            "expected finite numbers, use --task.reward raw"
        )
    return rewards


def episode_returns(data: QLearning) -> np.ndarray:
    """Returns of episodes as IQL cuts them."""
    return np.add.reduceat(data.rewards.astype(np.float64), first_rows(data))


REWARDS: dict[str, Rewards] = {
    "raw": raw,
    "antmaze": antmaze,
    "iql-antmaze": iql_antmaze,
    "standardise": standardise,
    "iql-locomotion": iql_locomotion,
}


@dataclass(frozen=True)
class Affine:
    """observation -> (observation - mean) / scale, in the data and in the simulator alike."""

    mean: np.ndarray  # [O]
    scale: np.ndarray  # [O]

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """`[..., O] -> [..., O]`."""
        return (obs - self.mean) / self.scale


def identity(data: QLearning) -> Affine:
    """As they are: Diffusion-QL, IQL."""
    return Affine(np.zeros(data.observations.shape[1]), np.ones(data.observations.shape[1]))


def z_score(data: QLearning) -> Affine:
    """Mean 0, deviation 1, the deviation raised by 1e-3: TD3+BC (sfujim/TD3_BC)."""
    observations = data.observations.astype(np.float64)
    return Affine(observations.mean(0), observations.std(0) + 1e-3)


OBSERVATIONS: dict[str, Callable[[QLearning], Affine]] = {"raw": identity, "z-score": z_score}


@dataclass(frozen=True)
class TransformConfig(Options):
    """What learning is shown of the data, instead of them as they are; None: what the task's own paper does."""

    reward: str | None = option(
        None,
        "what is done to rewards before learning; scores are of rewards as they are (default: the task's)",
        choices=tuple(REWARDS),
    )
    observation: str | None = option(
        None,
        "what is done to observations, in the data and in the simulator (default: the task's)",
        choices=tuple(OBSERVATIONS),
    )
    discount: float | None = option(
        None, "of the value one step ahead (gamma), in training alone: returns are not discounted", above=0, at_most=1
    )
