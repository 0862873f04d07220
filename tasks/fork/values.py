"""Returns on `local:fork` by dynamic programming: of the best policy, of the demonstrators, of uniform actions.

The move's number is part of the state, so each is one pass backwards over a grid of positions. Q of the best policy
comes with it. Axes: T moves, n grid lines, K holes.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter
from torch import Tensor
from torch.nn.functional import grid_sample

from tasks.fork.world import BEGIN, FRAME, SPREAD, ForkConfig, World

#: between two lines of the grid
SPACING = 0.0125


class Values:
    """What policies are worth, undiscounted."""

    def __init__(self, config: ForkConfig):
        self.world = World(config)
        lines = np.arange(-FRAME, FRAME + SPACING / 2, SPACING)
        self.grid = np.stack(np.meshgrid(lines, lines, indexing="ij"), -1)  # [n, n, 2]
        self._lines = len(lines)
        self._kept: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    @cached_property
    def best(self) -> float:
        """The most that any policy earns."""
        return self._at_begin(self._of_best[0])

    @cached_property
    def behaviour(self) -> float:
        """What demonstrators earn, but for the noise that the bounds of actions cut off."""
        config, world = self.world.config, self.world
        following = np.zeros(self.grid.shape[:2])
        for wall in reversed(range(config.walls)):
            of_holes = []
            for hole in world.holes[wall]:
                value = following
                for move in reversed(range(wall * config.moves, (wall + 1) * config.moves)):
                    after = _blurred(self._arrived(move, value), np.hypot(config.motion, config.noise))
                    mean = world.steering(move, self.grid, hole)
                    cost = config.effort * ((mean**2).sum(-1) + 2 * (config.noise / world.speed) ** 2)
                    value = self._interpolated(after, self.grid + world.speed * mean) - cost
                of_holes.append(value)
            following = (world.choice(wall, self.grid) * np.stack(of_holes, -1)).sum(-1)
        return self._at_begin(following)

    @cached_property
    def random(self) -> float:
        """What uniformly random actions earn."""
        value, width = np.zeros(self.grid.shape[:2]), round(2 * self.world.speed / SPACING)
        for move in reversed(range(self.world.horizon)):
            after = _blurred(self._arrived(move, value), self.world.config.motion)
            value = uniform_filter(after, width, mode="nearest") - self.world.config.effort * 2 / 3
        return self._at_begin(value)

    def q(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q of the best policy: `[n, 3]`, `[n, 2]` -> `[n]`, differentiable in the action."""
        act = act.clamp(-1, 1)
        # the number of the move is a plane of the picture, and a picture's columns come first
        plane = ((obs[:, :1] + 1) / 2 * self.world.horizon).round() / self.world.horizon * 2 - 1
        to = (obs[:, 1:] + self.world.speed * act) / FRAME
        places = torch.cat([to.flip(-1), plane], -1)[None, :, None, None]
        after = grid_sample(self._planes(obs.device, obs.dtype), places, padding_mode="border", align_corners=True)
        return after.flatten() - self.world.config.effort * (act**2).sum(-1)

    def _planes(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What being sent to a place is worth, `[1, 1, T + 1, n, n]`; nothing after the last wall."""
        if (device, dtype) not in self._kept:
            sent = np.stack([*self._of_best[1], np.zeros_like(self._of_best[0])])
            self._kept[device, dtype] = torch.as_tensor(sent)[None, None].to(device, dtype)
        return self._kept[device, dtype]

    @cached_property
    def _of_best(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """The value at the beginning `[n, n]`, and for each move what being sent to a place is worth, `[n, n]` each."""
        value, sent = np.zeros(self.grid.shape[:2]), []
        for move in reversed(range(self.world.horizon)):
            after = _blurred(self._arrived(move, value), self.world.config.motion)
            sent.append(after)
            # the cost is a sum over both dimensions, and so is the box: one after the other is both at once
            value = self._reached(self._reached(after, 0), 1)
        return value, sent[::-1]

    def _reached(self, after: np.ndarray, axis: int) -> np.ndarray:
        """The most of `after` less effort that a move along an axis reaches."""
        most, reach = np.full_like(after, -np.inf), round(self.world.speed / SPACING)
        first = np.moveaxis(after, axis, 0)
        best = np.moveaxis(most, axis, 0)
        for offset in range(-reach, reach + 1):
            cost = self.world.config.effort * (offset * SPACING / self.world.speed) ** 2
            here = slice(max(0, -offset), self._lines - max(0, offset))
            there = slice(max(0, offset), self._lines - max(0, -offset))
            np.maximum(best[here], first[there] - cost, out=best[here])
        return most

    def _arrived(self, move: int, following: np.ndarray) -> np.ndarray:
        """What being at each place after a move is worth."""
        wall = self.world.wall_after(move)
        if wall is None:
            return following
        # a cell at the edge of a hole is in it by its share
        inside = (self.world.config.radius - self.world.away(wall, self.grid).min(-1)) / SPACING + 0.5
        return inside.clip(0, 1) * (1 + following)

    def _interpolated(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        return map_coordinates(values, np.moveaxis((places + FRAME) / SPACING, -1, 0), order=1, mode="nearest")

    def _at_begin(self, value: np.ndarray) -> float:
        """Its mean over where episodes begin."""
        return float(self._interpolated(_blurred(value, SPREAD), BEGIN[None])[0])


@lru_cache(maxsize=16)
def values_of(config: ForkConfig) -> Values:
    """Of a world, worked out once."""
    return Values(config)


def _blurred(values: np.ndarray, deviation: float) -> np.ndarray:
    return gaussian_filter(values, deviation / SPACING, mode="nearest") if deviation > 0 else values
