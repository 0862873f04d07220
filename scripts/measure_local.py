"""Make every `local:` dataset anew and print the committed table of them, and what pointmaze's scores refer to.

python scripts/measure_local.py references      of uniform actions and of the controller sent home
python scripts/measure_local.py table [NAME ...] > tasks/collect/DATASETS.md
"""

from __future__ import annotations

import sys

from tasks.collect import local, pointmaze
from tasks.collect.locomotion import Uniform
from tasks.collect.record import ABREAST, episode_statistics, record
from tasks.d4rl_names import normalise


def references() -> None:
    for maze, limit in pointmaze.LIMITS.items():
        steps, simulator = 2 * ABREAST * limit, pointmaze.simulator(maze)
        pair = Uniform(2), pointmaze.Wanderer(maze, home=True)
        low, high = (episode_statistics(record(simulator, who, steps, 77, maze))["mean"] for who in pair)
        print(f'    "{maze}": ({low:.1f}, {high:.1f}),', flush=True)


def table(names: list[str]) -> None:
    print("| dataset | transitions | episodes | return: mean | min | max | score of the behaviour | seconds to make |")
    print("|---|---|---|---|---|---|---|---|")
    for name in names or list(local.LOCAL):
        s, reference = local.make(name), local.LOCAL[name].reference
        score = f"{normalise(reference, s['mean']):.1f}" if reference else "play, for no task"
        returns = " | ".join(f"{s[key]:.1f}" for key in ("mean", "min", "max"))
        row = f"| {name} | {s['transitions']} | {s['episodes']} | {returns} | {score} | {s['seconds']} |"
        print(row, flush=True)


if __name__ == "__main__":
    references() if sys.argv[1] == "references" else table(sys.argv[2:])
