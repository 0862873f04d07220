"""What "the score" of a run is: one trained run read by every rule in use, without training again.

last                  the last evaluation
mean of last ten      of the last ten evaluations
offline, as released  by BC loss, as Diffusion-QL's code does it (2208.06193, main.py), inverse permutation and all
offline, corrected    the evaluation with the k-th lowest BC loss, as its paper says; k is its `top_k`
best online           the best evaluation

The BC loss of an evaluation is the regularizer's (the class's own loss, for `bc`), meaned over the steps since the one
before. Axes: M evaluations of a run, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis.statistics import CURVE
from ablations.record import results
from ablations.record.results import LOSS
from core.options import OptionError
from tasks import make_task
from tasks.protocol import DIFFUSION_QL

#: the metric that rules choose between
SCORE = "score"
#: what identifies a score: a curve and the rule it is read by
COLUMNS = (*CURVE, "protocol", "top_k", "metric")
#: `top_k` of tasks without a published row: the release's default, before it set one for each task
TOP_K = 1


@dataclass(frozen=True)
class History:
    """The evaluations of one run, oldest first."""

    scores: np.ndarray  # [M, S]
    bc_losses: np.ndarray  # [M, S], mean over the steps since the evaluation before

    def __post_init__(self) -> None:
        if self.scores.shape != self.bc_losses.shape or self.scores.ndim != 2 or not len(self.scores):
            raise ValueError(f"expected as many scores as losses, [M, S]: {self.scores.shape}, {self.bc_losses.shape}")


def last(history: History, top_k: int) -> np.ndarray:
    """The last evaluation, `[S]`."""
    return history.scores[-1]


def mean_of_last_ten(history: History, top_k: int) -> np.ndarray:
    """The mean of the last ten evaluations, or of all where there are fewer, `[S]`."""
    return history.scores[-10:].mean(0)


def best_online(history: History, top_k: int) -> np.ndarray:
    """The best evaluation: it chooses by what it reports, and so promises too much. `[S]`."""
    return history.scores.max(0)


def offline_corrected(history: History, top_k: int) -> np.ndarray:
    """The evaluation with the k-th lowest BC loss, k from 0: what the paper describes. `[S]`."""
    order = np.argsort(history.bc_losses, axis=0, kind="stable")
    return np.take_along_axis(history.scores, order[[_within(history, top_k)]], axis=0)[0]


def offline_as_released(history: History, top_k: int) -> np.ndarray:
    """`scores[argsort(loss) == k]`, as released: evaluation number rank(k), evaluation k's rank by loss.

    It inverts the permutation, so it looks up the wrong evaluation unless the order happens to be its own inverse.
    """
    order = np.argsort(history.bc_losses, axis=0, kind="stable")
    return np.stack([s[o == _within(history, top_k)][0] for s, o in zip(history.scores.T, order.T, strict=True)])


def _within(history: History, top_k: int) -> int:
    return min(top_k, len(history.scores) - 1)


#: name in a result -> the score of a run by that rule
SELECTION_PROTOCOLS: dict[str, Callable[[History, int], np.ndarray]] = {
    "last": last,
    "mean of last ten": mean_of_last_ten,
    "offline, as released": offline_as_released,
    "offline, corrected": offline_corrected,
    "best online": best_online,
}


def early_stop(bc_losses: np.ndarray) -> int:
    """How many evaluations a run makes that halts at the first rise of the BC loss `[M]` (as released)."""
    rises = np.flatnonzero(np.diff(bc_losses) > 0)
    return int(rises[0]) + 2 if len(rises) else len(bc_losses)


def by_protocol(directory: Path) -> pd.DataFrame:
    """The score of each curve below a run or comparison by each rule: CURVE, protocol, top_k, metric, seed, value.

    A run has rows only where there is something to choose from: a metric `score` at two evaluations or more. Offline
    rules are left out where no loss says how close the policy is to the data. `metric` names score and rule.
    """
    rows = [row for run in results.run_directories(directory) for row in _of_run(run)]
    return pd.DataFrame(rows, columns=[*COLUMNS, "seed", "value"])


def _named(rule: str, top_k: int) -> str:
    return f"{SCORE}, {rule}" + (f" (k = {top_k})" if rule.startswith("offline") else "")


def published_top_k(task: str) -> int:
    """Of the task's row, or of the published task that a local one is made after."""
    try:
        row = DIFFUSION_QL.get(make_task(task).made_after or "")
    except OptionError:  # of a task that is not known here
        row = None
    return row.top_k if row else TOP_K


def _of_run(run: Path) -> list[dict[str, Any]]:
    config, metrics = results.read_config(run), results.load_run(run)
    scores, top_k = metrics[metrics["metric"] == SCORE], published_top_k(config["task"])
    rows = []
    for key, curve in scores.groupby(CURVE, sort=False):
        wide = curve.pivot(index="step", columns="seed", values="value")
        if len(wide) < 2:
            continue
        histories = _histories(wide, _losses(run, wide), config.get("early_stop", False))
        for name, rule in SELECTION_PROTOCOLS.items():
            if name.startswith("offline") and not _known(config, histories):
                continue
            found = dict(zip(COLUMNS, (*key, name, top_k, _named(name, top_k)), strict=True))
            rows += [
                {**found, "seed": seed, "value": rule(history, top_k)[0]}
                for seed, history in zip(wide.columns, histories, strict=True)
            ]
    return rows


def _losses(run: Path, like: pd.DataFrame) -> np.ndarray:
    """The BC losses `[M, S]` of the evaluations in `like`; nan where none was recorded or kept."""
    training = results.load_training(run)
    if training is None:
        return np.full(like.shape, np.nan)
    wide = training[training["metric"] == LOSS].pivot(index="step", columns="seed", values="value")
    return wide.reindex(index=like.index, columns=like.columns).to_numpy(float)


def _histories(scores: pd.DataFrame, losses: np.ndarray, early: bool) -> list[History]:
    """Of each seed, `[M, 1]`, up to where it stopped."""
    made = []
    for seed, column in enumerate(losses.T):
        count = early_stop(column) if early else len(column)
        made.append(History(scores.to_numpy(float)[:count, [seed]], losses[:count, [seed]]))
    return made


def _known(config: dict[str, Any], histories: list[History]) -> bool:
    measured = all(np.isfinite(history.bc_losses).all() for history in histories)
    return config["names"]["regularizer"] != "none" and measured
