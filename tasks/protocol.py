"""The published protocol of Diffusion-QL (2208.06193) as data: a row for each task.

Rows are those of the released code (Zhendong-Wang/Diffusion-Policies-for-Offline-RL [d871f5c], main.py). An epoch is
1000 steps; the learning rate is the policy's, the critic's is 3e-4 throughout. What "the score" of a run is:
`ablations.analysis.protocols`.
"""

from __future__ import annotations

from dataclasses import dataclass

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
