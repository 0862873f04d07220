"""`local:pointmaze-{umaze,ring,medium,large}`: a ball driven from cell to cell, by any way round (gymnasium-robotics).

As in D4RL's maze2d the behaviour wanders: it goes to one random cell after another, and the reward is 1 in each step
within 0.45 of the task's fixed goal, whatever the behaviour was up to. Each leg's route is the cheapest under random
costs of the cells, so where there are two ways round (ring, medium, large) both are taken and the data are
multimodal. Episodes run to the time limit.

Axes: m episodes, observation x, y, their velocities; action a force in x and y.
"""

from __future__ import annotations

import heapq

import numpy as np

from tasks.collect.record import record
from tasks.simulators import Simulator

#: g is the goal, r where evaluation starts (every free cell where there is none), # a wall
MAZES = {
    "umaze": ("#####", "#g  #", "### #", "#   #", "#####"),
    "ring": ("#####", "#  g#", "# # #", "#r  #", "#####"),
    "medium": ("########", "#  ##  #", "#  #   #", "##   ###", "#  #   #", "# #  # #", "#   # g#", "########"),
    "large": (
        "############",
        "#    #     #",
        "# ## # # # #",
        "#      #   #",
        "# #### ### #",
        "#  # #     #",
        "## # # # ###",
        "#  #   # g #",
        "############",
    ),
}
LIMITS = {"umaze": 300, "ring": 300, "medium": 600, "large": 800}
#: returns of uniform actions and of the controller sent straight to the goal, measured by scripts/measure_local.py
REFERENCES = {"umaze": (19.2, 207.3), "ring": (2.7, 205.0), "medium": (21.7, 431.1), "large": (20.7, 570.8)}
STEPS = 60_000
#: proportional and derivative gains, and how near a waypoint counts as reached, as D4RL has them
P_GAIN, D_GAIN, NEAR = 10.0, -1.0, 0.2
ACTION_NOISE = 0.3
#: start and goal lie this far from their cell's centre at most, in x and in y; D4RL has it for the start
JITTER = 0.1


def simulator(maze: str) -> Simulator:
    """The environment; start and goal cells are marked in its map."""
    grid = [[1 if cell == "#" else cell.strip() or 0 for cell in row] for row in MAZES[maze]]
    return Simulator(
        "PointMaze_UMaze-v3",
        LIMITS[maze],
        parts=(("observation",),),
        plugin="gymnasium_robotics",
        make_options={"maze_map": grid, "continuing_task": True, "reset_target": False},
        attributes={"position_noise_range": JITTER},
    )


Cell = tuple[int, int]


class Grid:
    """The free cells of a maze and where they lie."""

    def __init__(self, maze: str):
        rows = MAZES[maze]
        self.height, self.width = len(rows), len(rows[0])
        self.cells = [(r, c) for r in range(self.height) for c in range(self.width) if rows[r][c] != "#"]
        self.goal = next(cell for cell in self.cells if rows[cell[0]][cell[1]] == "g")

    def centre(self, cell: Cell) -> np.ndarray:
        return np.array([cell[1] + 0.5 - self.width / 2, self.height / 2 - cell[0] - 0.5])

    def nearest(self, place: np.ndarray) -> Cell:
        return min(self.cells, key=lambda cell: float(np.sum((self.centre(cell) - place) ** 2)))

    def route(self, start: Cell, end: Cell, costs: dict[Cell, float]) -> list[Cell]:
        """The cells after `start` on the cheapest way to `end` (Dijkstra 1959)."""
        queue, came = [(0.0, start, start)], {}
        while queue:
            so_far, cell, before = heapq.heappop(queue)
            if cell in came:
                continue
            came[cell] = before
            for beside in (
                (cell[0] + 1, cell[1]),
                (cell[0] - 1, cell[1]),
                (cell[0], cell[1] + 1),
                (cell[0], cell[1] - 1),
            ):
                if beside in costs and beside not in came:
                    heapq.heappush(queue, (so_far + costs[beside], beside, cell))
        way = [end]
        while way[-1] != start:
            way.append(came[way[-1]])
        return way[-2::-1]


class Wanderer:
    """Drives each ball along its route with a PD controller and plans the next one at its end."""

    def __init__(self, maze: str, home: bool = False):
        self.grid = Grid(maze)
        #: whether the ball goes to the task's goal and stays there, instead of wandering on
        self.home = home

    def start(self, obs: np.ndarray, generators: list[np.random.Generator]) -> None:
        self.generators = generators
        self.routes: list[list[Cell]] = [[] for _ in generators]

    def act(self, obs: np.ndarray) -> np.ndarray:
        waypoints = np.stack([self._waypoint(i, row) for i, row in enumerate(obs)])
        noise = np.stack([generator.standard_normal(2) for generator in self.generators])
        force = P_GAIN * (waypoints - obs[:, :2]) + D_GAIN * obs[:, 2:]
        return np.clip(np.clip(force, -1, 1) + ACTION_NOISE * noise, -1, 1)

    def _waypoint(self, i: int, obs: np.ndarray) -> np.ndarray:
        route = self.routes[i]
        if (
            route
            and np.linalg.norm(self.grid.centre(route[0]) - obs[:2]) < NEAR
            and not (self.home and len(route) == 1)
        ):
            route.pop(0)
        if not route:
            route.extend(self._plan(self.generators[i], self.grid.nearest(obs[:2])))
        return self.grid.centre(route[0])

    def _plan(self, generator: np.random.Generator, here: Cell) -> list[Cell]:
        others = [cell for cell in self.grid.cells if cell != here]
        target = self.grid.goal if self.home else others[generator.integers(len(others))]
        costs = dict(zip(self.grid.cells, generator.exponential(1.0, len(self.grid.cells)) + 0.2, strict=True))
        return self.grid.route(here, target, costs) or [here]


def collect(maze: str, seed: int, steps: int = STEPS) -> dict[str, np.ndarray]:
    """The arrays of `local:pointmaze-{maze}`."""
    return record(simulator(maze), Wanderer(maze), steps, seed, f"pointmaze-{maze}")
