"""Make every `local:` dataset anew and print the committed table of them, and what pointmaze's scores refer to.

python -m scripts.measure_local references      of uniform actions and of the controller sent home
python -m scripts.measure_local table [NAME ...] > tasks/collect/DATASETS.md
"""

from __future__ import annotations

import argparse

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
    parser = argparse.ArgumentParser(prog="python -m scripts.measure_local")
    parser.add_argument("what", choices=("references", "table"))
    parser.add_argument("names", nargs="*", help="of table: these datasets alone")
    said = parser.parse_args()
    references() if said.what == "references" else table(said.names)
