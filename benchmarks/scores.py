"""Scores of a random policy in every family of tasks that can be simulated here.

    python -m benchmarks.scores                  every family, 100 episodes each
    python -m benchmarks.scores --episodes 30    the table of docs/tasks.md
    python -m benchmarks.scores --quick          the cheap families alone, 20 episodes

A score of 0 is a random policy's return. So a uniformly random policy has to score about 0 in each family: this is a
check of reward, ends and horizon together, by the environment itself. No data are read.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from core.rng import Rng, SeedRng
from tasks import make_task
from tasks.offline import OfflineTask

#: family -> a task of it; all share environment and references within a family
TASKS = {
    "hopper": "hopper-medium-v2",
    "halfcheetah": "halfcheetah-medium-v2",
    "walker2d": "walker2d-medium-v2",
    "pen": "pen-human-v1",
    "hammer": "hammer-human-v1",
    "door": "door-human-v1",
    "relocate": "relocate-human-v1",
    "local pointmaze": "local:pointmaze-umaze",
    "local cube": "local:cube-single-play",
    "OGBench cube": "ogbench:cube-single-play-singletask-v0",
    "OGBench scene": "ogbench:scene-play-singletask-v0",
    "OGBench puzzle": "ogbench:puzzle-3x3-play-singletask-v0",
    "OGBench pointmaze": "ogbench:pointmaze-medium-navigate-singletask-v0",
    "OGBench antmaze": "ogbench:antmaze-medium-navigate-singletask-v0",
    "OGBench humanoidmaze": "ogbench:humanoidmaze-medium-navigate-singletask-v0",
    "OGBench antsoccer": "ogbench:antsoccer-arena-navigate-singletask-v0",
}
#: cheap to simulate
QUICK = ("hopper", "walker2d", "pen", "door", "relocate")
#: within which a random policy has to be, in points of score
NEAR = 2.0


@dataclass(frozen=True)
class Row:
    """What was measured over episodes: score with its standard error, return, steps; and what a score refers to."""

    family: str
    task: str
    score: float
    error: float
    returned: float
    length: float
    reference: tuple[float, float] | None


def measure(family: str, episodes: int, seed: int = 0) -> Row:
    """A uniformly random policy in a family's task, from `episodes` starts; nothing of its data is read."""
    recipe = dataclasses.replace(make_task(TASKS[family]).recipe, episodes=episodes)  # type: ignore[attr-defined]

    def act(obs: Tensor, rng: Rng) -> Tensor:
        return 2 * rng.uniform(obs.shape[1], recipe.act_dim) - 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the precision of bounds, and about the versions that the papers used
        evaluated = OfflineTask(recipe).evaluate(act, SeedRng([seed], "evaluate"), 1)
    scores = evaluated.samples["scores"].ravel()
    return Row(
        family,
        recipe.name,
        float(scores.mean()),
        float(scores.std(ddof=1) / np.sqrt(len(scores))),
        float(evaluated.metrics["return"][0]),
        float(evaluated.metrics["length"][0]),
        recipe.reference,
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| family | task | random policy: score ± error | return | steps | returns of score 0 and 100 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        reference = "share done" if row.reference is None else f"{row.reference[0]:.1f}, {row.reference[1]:.1f}"
        lines.append(
            f"| {row.family} | `{row.task}` | {row.score:.2f} ± {row.error:.2f} | {row.returned:.1f} "
            f"| {row.length:.0f} | {reference} |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 where a random policy is not near 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scores", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the families that are cheap to simulate, 20 episodes")
    parser.add_argument("--episodes", type=int, default=100, help="of each family, 100 by default")
    asked = parser.parse_args(arguments)
    rows = []
    for family in QUICK if asked.quick else TASKS:
        rows.append(measure(family, min(asked.episodes, 20) if asked.quick else asked.episodes))
        print(f"{family}: {rows[-1].score:.2f}", file=sys.stderr, flush=True)
    print(table(rows))
    far = [row.family for row in rows if abs(row.score) > NEAR]
    if far:
        print(f"a random policy does not score about 0 in: {', '.join(far)}", file=sys.stderr)
    return bool(far)


if __name__ == "__main__":
    sys.exit(main())
