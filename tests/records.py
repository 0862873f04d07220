"""Run directories that say what a test wants, with no training behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablations import results

NAMES = {"policy": "diffusion", "regularizer": "bc", "improvement": "q-max", "backup": "clipped-double-q"}


def written(
    directory: Path,
    scores: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    task: str = "hopper-medium-v2",
    metric: str = "score",
    regularizer: str = "bc",
    acting: Sequence[str] = ("one",),
    **config: Any,
) -> Path:
    """A run directory with these evaluations, scores and losses `[M, S]`; a second way of acting scores 100 more."""
    directory.mkdir(parents=True)
    names = {**NAMES, "regularizer": regularizer}
    views = [{"label": name, "selection_label": name, "sampler_label": "as trained"} for name in acting]
    record = {
        "label": directory.name,
        "task": task,
        "names": names,
        "seeds": list(range(len(scores[0]))),
        "views": views,
        "interrupted": False,
    }
    results.write_json(directory / "config.json", {**record, **config})
    steps = [50 * (m + 1) for m in range(len(scores))]
    evaluations = [
        (step, {"selection": name, "sampler": "as trained"}, {metric: np.array(row, float) + 100 * index})
        for step, row in zip(steps, scores, strict=True)
        for index, name in enumerate(acting)
    ]
    results.tidy(record, evaluations).to_csv(directory / "metrics.csv", index=False)
    trained = [
        (step, {}, {"regularizer_mean": np.array(row, float), "regularizer": np.array(row, float) + 9})
        for step, row in zip(steps, losses, strict=True)
    ]
    results.tidy(record, trained).to_csv(directory / "training.csv", index=False)
    return directory
