"""The world of `local:fork`: a point flies through walls that have holes, and demonstrators who choose among these.

The point advances by itself; an action accelerates nothing and moves it sideways, in two dimensions. Every few moves it
meets a wall with K round holes on a ring, which is turned from wall to wall. Through a hole it earns 1 and flies on;
beside all of them the episode ends. A move costs `effort` times its squared length. Demonstrators draw a hole at the
beginning of each stretch, the nearest with the probability `near`, and steer straight to it with noise. So the same
observation is followed by actions to the left and to the right, and their mean hits the wall.

Axes: m points, n rows, W walls, K holes. Positions and actions have two columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from core.options import Options, option
from tasks.d4rl_reader import QLearning

#: how far actions of 1 move the point sideways from wall to wall: 0.6 of it crosses the ring
REACH = 2.0
#: of the holes' ring, and of the square in which positions stay
RING, FRAME = 0.6, 1.5
#: where episodes begin: not in the middle, so that one hole of the first wall is nearest
BEGIN, SPREAD = np.array([0.2, 0.0]), 0.05


@dataclass(frozen=True)
class ForkConfig(Options):
    """Options of the task."""

    gaps: int = option(2, "holes in each wall", at_least=1, at_most=8)
    walls: int = option(4, "walls in a row", at_least=1, at_most=16)
    moves: int = option(2, "moves from wall to wall", at_least=1, at_most=10)
    radius: float = option(0.15, "of a hole; the ring of holes has 0.6", above=0, at_most=0.2)
    near: float = option(0.3, "how often demonstrators take the nearest hole, the best", at_least=0, at_most=1)
    noise: float = option(0.05, "deviation of where demonstrators' actions take them", at_least=0, at_most=0.2)
    motion: float = option(0.02, "deviation of each move", at_least=0, at_most=0.1)
    effort: float = option(0.3, "cost of a move, times its action's squared length", at_least=0, at_most=2)
    size: int = option(2_000, "episodes to learn from", at_least=10, at_most=1_000_000)
    discount: float = option(
        0.99, "of the value one step ahead (gamma), in training alone: returns are not discounted", above=0, at_most=1
    )


class World:
    """Geometry, dynamics and demonstrators."""

    def __init__(self, config: ForkConfig):
        self.config = config
        self.horizon = config.walls * config.moves
        #: how far an action of 1 moves the point sideways
        self.speed = REACH / config.moves
        self.holes = np.stack([self._ring(wall) for wall in range(config.walls)])  # [W, K, 2]

    def _ring(self, wall: int) -> np.ndarray:
        turn = (wall % 2) * math.pi / (3 * self.config.gaps)
        angles = 2 * math.pi * np.arange(self.config.gaps) / self.config.gaps + turn
        return RING * np.stack([np.cos(angles), np.sin(angles)], -1)

    def begin(self, normal: np.ndarray) -> np.ndarray:
        """Positions `[m, 2]` where episodes begin, from standard normal numbers of that shape."""
        return BEGIN + SPREAD * normal

    def wall_after(self, move: int) -> int | None:
        """The wall that is met by the move of this number, from 0."""
        wall, rest = divmod(move + 1, self.config.moves)
        return wall - 1 if rest == 0 else None

    def moved(self, position: np.ndarray, act: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Positions `[m, 2]` after a move by actions and standard normal numbers of the same shape."""
        to = position + self.speed * np.clip(act, -1, 1) + self.config.motion * normal
        return np.clip(to, -FRAME, FRAME)

    def hole(self, wall: int, position: np.ndarray) -> np.ndarray:
        """The hole each position `[..., 2]` is in, `[...]`; -1 beside all of them."""
        away = self.away(wall, position)
        return np.where(away.min(-1) <= self.config.radius, away.argmin(-1), -1)

    def away(self, wall: int, position: np.ndarray) -> np.ndarray:
        """How far each position `[..., 2]` is from the middle of each hole, `[..., K]`."""
        return np.linalg.norm(position[..., None, :] - self.holes[wall], axis=-1)

    def effort(self, act: np.ndarray) -> np.ndarray:
        """What actions `[m, 2]` cost, `[m]`."""
        return self.config.effort * (np.clip(act, -1, 1) ** 2).sum(-1)

    def choice(self, wall: int, position: np.ndarray) -> np.ndarray:
        """With which probability demonstrators choose each hole of the coming wall, `[..., K]`."""
        away = self.away(wall, position)
        count, near = self.config.gaps, self.config.near
        if count == 1:
            return np.ones_like(away)
        nearest = np.arange(count) == away.argmin(-1)[..., None]
        return np.where(nearest, near, (1 - near) / (count - 1))

    def steering(self, move: int, position: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The mean action `[..., 2]` of a demonstrator at `position` who makes for `goal`."""
        left = self.config.moves - move % self.config.moves
        return np.clip((goal - position) / (self.speed * left), -1, 1)

    def observed(self, move: int, position: np.ndarray) -> np.ndarray:
        """What policies see before a move: how far the point has flown, from -1 to 1, and where it is, `[..., 3]`."""
        flown = np.full((*position.shape[:-1], 1), 2 * move / self.horizon - 1)
        return np.concatenate([flown, position], -1)

    def demonstrated(self, count: int, seed: int) -> QLearning:
        """The transitions of so many episodes of demonstrators, episode after episode."""
        rng = np.random.default_rng(seed)
        position, flying = self.begin(rng.standard_normal((count, 2))), np.ones(count, bool)
        goal = np.zeros((count, 2))
        columns: dict[str, list[np.ndarray]] = {name: [] for name in ("obs", "act", "reward", "next", "over", "flying")}
        for move in range(self.horizon):
            if move % self.config.moves == 0:
                wall = move // self.config.moves
                edges = self.choice(wall, position).cumsum(-1)
                drawn = (rng.random((count, 1)) >= edges[:, :-1]).sum(-1)
                goal = self.holes[wall][drawn]
            mean = self.steering(move, position, goal)
            act = np.clip(mean + self.config.noise / self.speed * rng.standard_normal((count, 2)), -1, 1)
            to = self.moved(position, act, rng.standard_normal((count, 2)))
            reward, over = self.outcome(move, to)
            columns["obs"].append(self.observed(move, position))
            columns["act"].append(act)
            columns["reward"].append(reward - self.effort(act))
            columns["next"].append(self.observed(move + 1, to))
            columns["over"].append(over)
            columns["flying"].append(flying)
            position, flying = to, flying & ~over
        kept = np.stack(columns.pop("flying"), 1)
        obs, act, reward, following, over = (np.stack(column, 1)[kept] for column in columns.values())
        begins = np.flatnonzero(np.append(True, over[:-1]))
        next_act = np.append(act[1:], act[-1:], 0)
        next_act[over] = act[over]
        # as D4RL's files have them
        obs, act, reward, following, next_act = (
            one.astype(np.float32) for one in (obs, act, reward, following, next_act)
        )
        return QLearning(obs, act, reward, following, over, next_act, begins=begins)

    def outcome(self, move: int, to: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What arriving at `to` `[m, 2]` by a move earns, and whether it ends the episode, `[m]` each."""
        wall = self.wall_after(move)
        if wall is None:
            return np.zeros(len(to)), np.zeros(len(to), bool)
        through = self.hole(wall, to) >= 0
        return through.astype(float), ~through | (wall == self.config.walls - 1)
