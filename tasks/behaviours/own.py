"""`bandit:file:PATH`: actions of your own, with contexts where there are any, as a behaviour without a density.

A npz file with `actions` `[n, A]` in [-1, 1] and optional `contexts` `[n, O]`. Every fifth row is kept for evaluation.
Axes: n rows, O context, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from core.options import option
from tasks.behaviours.base import Behaviour
from tasks.behaviours.config import REWARD_HELP, BehaviourConfig
from tasks.behaviours.values import HIGHEST
from tasks.containers import npz
from tasks.validation import BadFile, in_unit_box, numeric, refuse

#: rows at least, so that a fifth of them says something
FEWEST = 100
#: one row in so many is kept for evaluation
HELD_OUT = 5
KEYS = ("actions", "contexts")


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Actions `[n, A]` and contexts `[n, O]` or None. Raises `BadFile` in one line for anything else."""
    found = npz(path, KEYS.__contains__)
    if "actions" not in found:
        raise BadFile(f"{path}: has no actions; expected a npz file with actions [n, A] and optional contexts [n, O]")
    arrays = {key: _matrix(path, key, array) for key, array in found.items()}
    actions, contexts = arrays["actions"], arrays.get("contexts")
    if len(actions) < FEWEST:
        raise BadFile(f"{path}: actions has {len(actions)} row{'s' * (len(actions) != 1)}; expected {FEWEST} or more")
    if (actions == actions[0]).all():
        raise BadFile(f"{path}: actions holds one point {len(actions)} times; expected actions that differ")
    in_unit_box(path, "actions", actions)
    if contexts is not None and len(contexts) != len(actions):
        raise BadFile(f"{path}: contexts has {len(contexts)} rows and actions {len(actions)}; expected as many")
    return np.clip(actions, -1, 1), contexts


def _matrix(path: Path, key: str, array: np.ndarray) -> np.ndarray:
    array = numeric(path, key, array)
    if array.ndim != 2 or not array.shape[1]:
        raise BadFile(f"{path}: {key} has shape {array.shape}; expected two axes, [rows, dimensions]")
    cast = array.astype(np.float64)
    refuse(path, key, array, ~np.isfinite(cast), "expected finite numbers")
    refuse(path, key, array, ~(np.abs(cast) < 1e6), "expected numbers below 1e6")
    return cast


class Recorded(Behaviour):
    """Rows of a file. `sample` draws among those that `contexts` gave: an action recorded with the context asked."""

    has_density = False

    def __init__(self, actions: np.ndarray, contexts: np.ndarray | None):
        self.act = torch.from_numpy(actions)
        self.obs = None if contexts is None else torch.from_numpy(contexts)
        self.act_dim = actions.shape[1]
        self.conditional = contexts is not None  # type: ignore[misc]
        if self.obs is not None:
            self.obs_dim = self.obs.shape[1]
        rows = torch.arange(len(actions))
        self.training, self.held_out = rows[rows % HELD_OUT != 0], rows[rows % HELD_OUT == 0]

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        return self.act[self.held_out[torch.randint(len(self.held_out), (len(obs),), generator=generator)]]

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Contexts and actions of rows."""
        obs = torch.zeros(len(rows), self.obs_dim, dtype=torch.float64) if self.obs is None else self.obs[rows]
        return obs, self.act[rows]

    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        return torch.full_like(act[:, 0], HIGHEST)

    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        return torch.cdist(act, self.act[self.training].to(act)).amin(-1)

    def rarest(self, obs: Tensor) -> Tensor:
        """The row farthest from its nearest neighbour, of at most 2,000."""
        few = self.act[self.training[:2000]]
        nearest = torch.cdist(few, few).fill_diagonal_(torch.inf).amin(-1)
        return few[nearest.argmax()].expand(len(obs), self.act_dim)


@dataclass(frozen=True)
class FileConfig(BehaviourConfig):
    """Actions of a file; a density and modes are not known of it."""

    reward: str = option("linear", REWARD_HELP, choices=("linear", "quadratic", "on-support", "trap", "needle"))
    size: int = option(10_000_000, "transitions to learn from, at most: the first of the file", at_least=80)
