"""`local:fork` as a task: demonstrations to learn from, episodes to be evaluated in, returns that are known.

Axes: S seeds, E episodes, K holes, T moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.options import Options, flag_of
from core.rng import Rng
from core.types import TaskSpec, Transitions
from tasks import describing
from tasks.base import Act, Evaluation, Task
from tasks.d4rl_names import normalise
from tasks.d4rl_reader import QLearning
from tasks.fleet import Moment
from tasks.fork.values import values_of
from tasks.fork.world import ForkConfig, World
from tasks.kinds import Kind
from tasks.rollout import rollout

NAME = "local:fork"
DATA_SEED, REFERENCE_SEED = 2024, 2025
EPISODES = 100
#: of the demonstrators, whom policies are compared with
REFERENCE_EPISODES = 4_000


class ForkTask(Task):
    """Of one configuration; `under` gives the same of other options."""

    data_by_options = True
    has_next_actions = True
    has_true_q = True
    clips = True
    options = ForkConfig
    episodes = EPISODES
    figures = ("curves", "crossings")
    # few denoising steps blur the routes: 5 clone worse than 20, 50 little better
    defaults = {"selection": "one", "policy.T": 20}
    metrics = {
        "score": "normalised return: 0 is a uniformly random policy, 100 the best there is",
        "return": "mean undiscounted return of an episode",
        "success": "share of episodes that pass all walls",
        "near_gap": "share of episodes whose first hole is the nearest, which is the best",
        "route_error": "shares of the first wall's holes against the demonstrators', half the sum of differences",
    }

    def __init__(self, config: ForkConfig = ForkConfig(), evaluated: int = EPISODES):  # noqa: B008
        self.config, self._evaluated = config, evaluated
        self.world = World(config)
        self.spec = TaskSpec(NAME, 3, 2)

    @property
    def kind(self) -> Kind:
        return Kind("fork", "point")

    def under(self, transforms: Options, episodes: int | None = None) -> ForkTask:
        asked = episodes or self._evaluated
        if (transforms, asked) == (self.config, self._evaluated):
            return self
        return ForkTask(transforms, asked)  # type: ignore[arg-type]

    def data(self) -> QLearning:
        return self._demonstrated

    @cached_property
    def _demonstrated(self) -> QLearning:
        return self.world.demonstrated(self.config.size, DATA_SEED)

    def dataset(self) -> Transitions:
        data = self.data()
        discount = (self.config.discount * ~data.terminals).astype(np.float32)
        arrays = (data.observations, data.actions, data.rewards, data.next_observations, discount, data.next_actions)
        return Transitions(*(torch.from_numpy(array) for array in arrays))

    def described(self) -> str:
        default, known = ForkConfig(), values_of(self.config)
        changed = "".join(
            f" {flag_of(f'task.{name}')} {value}"
            for name, value in vars(self.config).items()
            if value != getattr(default, name)
        )
        returns = f"random {known.random:.3f}, demonstrators {known.behaviour:.3f}, best {known.best:.3f}"
        return describing.block(f"{NAME}{changed}", self.data(), more={"known": f"returns: {returns}"})

    def true_q(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q of the best policy, undiscounted."""
        return values_of(self.config).q(obs, act)

    @classmethod
    def default_budget(cls, names: Mapping[str, str]) -> dict[str, Any]:
        """Some minutes on two cores."""
        return {"steps": 20_000, "eval_every": 5_000}

    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        fleet = Points(self.world)
        result = rollout(fleet, act, rng, seeds, self._evaluated)
        first = fleet.first.reshape(seeds, self._evaluated, 2)
        return self._scored(result.returns, result.success, first)

    def reference(self) -> Evaluation:
        """Of the demonstrators; their return is exact."""
        known = values_of(self.config)
        data = self.world.demonstrated(REFERENCE_EPISODES, REFERENCE_SEED)
        assert data.begins is not None
        ends = np.append(data.begins[1:], len(data.rewards)) - 1
        passed = (data.next_observations[ends, 0] >= 1 - 1e-6) & (data.rewards[ends] > 0)
        first = data.next_observations[data.begins + self.config.moves - 1, 1:]
        scored = self._scored(np.full((1, 1), known.behaviour), passed[None], first[None])
        samples = {**scored.samples, "holes": self.world.holes[None, 0], "radius": np.array([self.config.radius])}
        return replace(scored, samples=samples)

    def _scored(self, returns: np.ndarray, success: np.ndarray, first: np.ndarray) -> Evaluation:
        known = values_of(self.config)
        holes = self.world.hole(0, first)  # [S, E]
        used = np.stack([(holes == hole).mean(1) for hole in range(self.config.gaps)], -1)
        wished = self.world.choice(0, self.world.begin(np.zeros((1, 2))))
        metrics = {
            "score": normalise((known.random, known.best), returns).mean(1),
            "return": returns.mean(1),
            "success": success.mean(1),
            "near_gap": used[:, 0],
            "route_error": np.abs(used - wished).sum(1) / 2,
        }
        return Evaluation(metrics, {"crossings": first})


class Points:
    """Points that fly together, as a `tasks.fleet.Fleet` of simulations."""

    def __init__(self, world: World):
        self.world = world

    def reset(self, seeds: np.ndarray) -> Moment:
        """Start an episode in each, from `seeds` `[m]`."""
        count, moves = len(seeds), self.world.horizon
        drawn = np.stack([np.random.default_rng(seed).standard_normal((moves + 1, 2)) for seed in seeds], 1)
        self._normal, self._move = drawn[1:], 0
        self._position = self.world.begin(drawn[0])
        #: where each meets the first wall, `[m, 2]`
        self.first = np.full((count, 2), np.nan)
        obs = self.world.observed(0, self._position)
        self.now = Moment(obs, np.zeros(count), np.zeros(count, bool), np.zeros(count, bool), np.zeros(count))
        return self.now

    def step(self, actions: np.ndarray) -> Moment:
        """Move those that fly by their row of `actions` `[m, 2]`."""
        flying, before = ~self.now.over, self.now
        to = self.world.moved(self._position, actions, self._normal[self._move])
        reward, over = self.world.outcome(self._move, to)
        if self.world.wall_after(self._move) == 0:
            self.first = to
        self._position = np.where(flying[:, None], to, self._position)
        self._move += 1
        at_end = self._move == self.world.horizon
        self.now = Moment(
            np.where(flying[:, None], self.world.observed(self._move, self._position), before.obs),
            np.where(flying, reward - self.world.effort(actions), 0.0),
            before.terminated | (flying & over),
            before.truncated,
            np.where(flying & at_end & (reward > 0), 1.0, before.success),
        )
        return self.now
