"""The published protocol of Diffusion-QL (2208.06193) as data: a row for each task, and what "the score" of a run is.

Rows are those of the released code (Zhendong-Wang/Diffusion-Policies-for-Offline-RL [d871f5c], main.py). An epoch is
1000 steps; the learning rate is the policy's, the critic's is 3e-4 throughout.

Axes: M evaluations of a run, S seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

EPOCH = 1000


@dataclass(frozen=True)
class Row:
    """What the released code sets for one task."""

    eta: float  # weight of Q against behaviour cloning
    max_q_backup: bool  # 10 next actions, maximum for each head, then the minimum of the heads
    grad_norm: float  # gn: both networks are clipped at it
    top_k: int  # which of the evaluations, by BC loss, the offline selection takes
    epochs: int
    reward: str = "raw"  # a name in tasks.transforms.REWARDS
    lr: float = 3e-4
    episodes: int = 10
    eval_every: int = 50 * EPOCH  # steps

    @property
    def steps(self) -> int:
        return self.epochs * EPOCH


def _antmaze(eta: float, max_q_backup: bool, grad_norm: float, top_k: int, lr: float = 3e-4) -> Row:
    return Row(eta, max_q_backup, grad_norm, top_k, 1000, "antmaze", lr, episodes=100)


def _pen(eta: float, grad_norm: float) -> Row:
    return Row(eta, False, grad_norm, 2, 1000, "standardise", lr=3e-5, episodes=100)


def _kitchen(grad_norm: float, top_k: int, epochs: int) -> Row:
    return Row(0.005, False, grad_norm, top_k, epochs, episodes=100)


DIFFUSION_QL: dict[str, Row] = {
    "halfcheetah-medium-v2": Row(1.0, False, 9.0, 1, 2000),
    "hopper-medium-v2": Row(1.0, False, 9.0, 2, 2000),
    "walker2d-medium-v2": Row(1.0, False, 1.0, 1, 2000),
    "halfcheetah-medium-replay-v2": Row(1.0, False, 2.0, 0, 2000),
    "hopper-medium-replay-v2": Row(1.0, False, 4.0, 2, 2000),
    "walker2d-medium-replay-v2": Row(1.0, False, 4.0, 1, 2000),
    "halfcheetah-medium-expert-v2": Row(1.0, False, 7.0, 0, 2000),
    "hopper-medium-expert-v2": Row(1.0, False, 5.0, 2, 2000),
    "walker2d-medium-expert-v2": Row(1.0, False, 5.0, 1, 2000),
    "antmaze-umaze-v0": _antmaze(0.5, False, 2.0, 2),
    "antmaze-umaze-diverse-v0": _antmaze(2.0, True, 3.0, 2),
    "antmaze-medium-play-v0": _antmaze(2.0, True, 2.0, 1, lr=1e-3),
    "antmaze-medium-diverse-v0": _antmaze(3.0, True, 1.0, 1),
    "antmaze-large-play-v0": _antmaze(4.5, True, 10.0, 2),
    "antmaze-large-diverse-v0": _antmaze(3.5, True, 7.0, 1),
    "pen-human-v1": _pen(0.15, 7.0),
    "pen-cloned-v1": _pen(0.1, 8.0),
    "kitchen-complete-v0": _kitchen(9.0, 2, 250),
    "kitchen-partial-v0": _kitchen(10.0, 2, 1000),
    "kitchen-mixed-v0": _kitchen(10.0, 0, 1000),
}


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
