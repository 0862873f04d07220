"""Run directories that say what a test wants, with no training behind them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.record import results
from ablations.record.integrity import write_json

NAMES = {"policy": "diffusion", "regularizer": "bc", "improvement": "q-max", "backup": "clipped-double-q"}


def assert_same_run(a: Path, b: Path) -> None:
    """The same files, rows in the same order; numbers to rounding, as torch rounds a batch of products by its size."""
    assert {file.name for file in a.iterdir()} == {file.name for file in b.iterdir()}
    for file in a.glob("*.csv"):
        if file.read_text().strip():
            pd.testing.assert_frame_equal(pd.read_csv(file), pd.read_csv(b / file.name), rtol=1e-5, atol=1e-6)
    if (a / "samples.npz").exists():
        mine, its = results.load_samples(a), results.load_samples(b)
        assert mine.keys() == its.keys()
        for name, array in mine.items():
            np.testing.assert_allclose(array, its[name], rtol=1e-4, atol=1e-5)


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
    write_json(directory / "config.json", {**record, **config})
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
