"""Early stopping of each seed alone while all seeds train together.

As Diffusion-QL's `--early_stop` (2208.06193): a run halts at the first evaluation whose BC loss, meaned over the steps
since the evaluation before, is higher than the one before. Here a seed that halts keeps the networks it had then: they
are put back before every later look, so its scores and its checkpoint are those of a run that ended there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.trainer import Trainer


class EarlyStop:
    """Watches the BC losses of a trainer's seeds."""

    def __init__(self, trainer: Trainer):
        self._trainer = trainer
        self._before: np.ndarray | None = None
        #: seed's place -> its slice of every parameter when it halted
        self._kept: dict[int, list[Tensor]] = {}

    @property
    def halted(self) -> list[int]:
        """Places of the seeds that have halted."""
        return sorted(self._kept)

    def state_dict(self) -> dict[str, Any]:
        before = None if self._before is None else torch.from_numpy(self._before)
        return {"before": before, "kept": self._kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before = None if state["before"] is None else state["before"].numpy()
        self._kept = state["kept"]

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what training has done since to the seeds that have halted."""
        for place, values in self._kept.items():
            for parameter, value in zip(_parameters(self._trainer), values, strict=True):
                parameter[place].copy_(value)

    def consider(self, losses: np.ndarray) -> None:
        """Halt the seeds whose loss `[S]` has risen; called once at each evaluation, after it."""
        if self._before is not None:
            for place in np.flatnonzero(losses > self._before).tolist():
                if place not in self._kept:
                    self._kept[place] = [p.detach()[place].clone() for p in _parameters(self._trainer)]
        self._before = losses


def _parameters(trainer: Trainer) -> list[Tensor]:
    """Every parameter `[S, ...]`, targets included."""
    targets = (trainer.target_policy, trainer.target_critic)
    modules = [*trainer.learners().values(), *(part for part in targets if isinstance(part, nn.Module))]
    return [p for module in modules for p in module.parameters()]
