"""Choose, from the snapshots of scripts/train_behaviour.py, the policies the project commits.

    python -m scripts.pick_behaviour hopper /tmp/behaviour/hopper

Expert: the best snapshot. Medium: the one before it whose score is nearest to half of the expert's. Replay: some
snapshots evenly spaced on the way to the medium one. Candidates for both are evaluated again over more episodes, since
the best of many short looks is mostly luck.
Writes tasks/collect/weights/{body}-{expert,medium,replay-N}.npz and the training record beside them.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.collect.actor import Actor
from tasks.collect.locomotion import SIMULATORS, WEIGHTS, Stochastic
from tasks.collect.record import episode_statistics, record
from tasks.d4rl_names import LOCOMOTION, normalise

#: snapshots kept of the way to the medium policy, candidates evaluated again, and the steps of that
STAGES, CANDIDATES, STEPS = 8, 8, 12_000


def score_of(body: str, path: Path) -> float:
    """The mean normalised score of a snapshot's episodes, acting with its noise."""
    arrays = record(SIMULATORS[body], Stochastic(Actor.load(path)), STEPS, 12345, path.stem)
    return float(normalise(LOCOMOTION[body][2], np.array(episode_statistics(arrays)["mean"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("body", choices=SIMULATORS)
    parser.add_argument("snapshots", type=Path)
    args = parser.parse_args()
    scores = pd.read_csv(args.snapshots / "record.csv")

    def path(step: int) -> Path:
        return args.snapshots / f"step_{step:08d}.npz"

    best = {int(step): score_of(args.body, path(step)) for step in scores.nlargest(CANDIDATES, "score").step}
    expert = max(best, key=lambda step: best[step])
    top = best[expert]
    before = scores[scores.step < expert]
    near = before.iloc[(before.score - top / 2).abs().argsort()[:CANDIDATES]].step
    scored = {int(step): score_of(args.body, path(step)) for step in near}
    medium = min(scored, key=lambda step: abs(scored[step] - top / 2))
    replay = [int(step) for step in before.step[before.step <= medium]]
    kept = [replay[i] for i in np.unique(np.linspace(0, len(replay) - 1, STAGES).round().astype(int))]
    WEIGHTS.mkdir(exist_ok=True)
    shutil.copy(path(expert), WEIGHTS / f"{args.body}-expert.npz")
    shutil.copy(path(medium), WEIGHTS / f"{args.body}-medium.npz")
    for old in WEIGHTS.glob(f"{args.body}-replay-*.npz"):
        old.unlink()
    for i, step in enumerate(kept):
        shutil.copy(path(step), WEIGHTS / f"{args.body}-replay-{i}.npz")
    shutil.copy(args.snapshots / "record.csv", WEIGHTS / f"{args.body}-training.csv")
    print(f"{args.body}: expert step {expert} of {best}; medium step {medium} of {scored}; replay steps {kept}")


if __name__ == "__main__":
    main()
