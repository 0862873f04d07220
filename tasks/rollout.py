"""Evaluating policies in a simulator: the episodes of all seeds advance together, one batched action a step.

Axes: S seeds, E episodes, O observation, A action. Episode e of seed s starts from a seed drawn from s's own stream,
and draws of the policy come from it too, so a seed's episodes are the same whoever is evaluated beside it. Shapes stay
`[S, E, ...]` to the end: a finished episode stands still and its actions are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from core.rng import Rng
from tasks.base import Act
from tasks.fleet import Moment

#: environments take seeds below this
SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Rollout:
    """What happened, for each seed and episode."""

    returns: np.ndarray  # [S, E], undiscounted
    lengths: np.ndarray  # [S, E], steps
    terminated: np.ndarray  # [S, E], False where the time limit ended it
    success: np.ndarray  # [S, E], the share of its task done; nan where the environment reports none


class Simulations(Protocol):
    """So many environments that advance together: `tasks.fleet`, or a world that is stepped as one."""

    def reset(self, seeds: np.ndarray) -> Moment:
        """Start an episode in each, from `seeds` `[m]`."""

    def step(self, actions: np.ndarray) -> Moment:
        """Step those whose episode is not over with their row of `actions` `[m, A]`."""


def rollout(fleet: Simulations, act: Act, rng: Rng, seeds: int, episodes: int) -> Rollout:
    """Run `episodes` episodes of each of `seeds` policies; the fleet has seeds * episodes simulations."""
    like = rng.normal(0)  # no draw: only the policy's device and precision
    shape = (seeds, episodes)
    starts = rng.integers(SEEDS, episodes).cpu().numpy()
    now = fleet.reset(starts.ravel())
    returns, lengths = np.zeros(seeds * episodes), np.zeros(seeds * episodes, np.int64)
    while not now.over.all():
        running = ~now.over
        obs = torch.as_tensor(now.obs, dtype=like.dtype).to(like.device).view(*shape, -1)
        actions = act(obs, rng).cpu().double().numpy()
        _refuse_nonfinite(actions, running.reshape(shape), int(lengths.max()))
        now = fleet.step(actions.reshape(seeds * episodes, -1))
        returns += now.reward
        lengths += running
    return Rollout(*(array.reshape(shape) for array in (returns, lengths, now.terminated, now.success)))


def _refuse_nonfinite(actions: np.ndarray, running: np.ndarray, step: int) -> None:
    bad = ~np.isfinite(actions).all(-1) & running
    if bad.any():
        seed, episode = np.argwhere(bad)[0]
        raise FloatingPointError(f"policy {seed} acts with a non-finite number in episode {episode}, step {step}")
