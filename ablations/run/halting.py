"""The end of one seed alone while the others train on: by early stopping, or because its numbers diverged.

Early stopping is Diffusion-QL's `--early_stop` (2208.06193): a run halts at the first evaluation whose BC loss, meaned
over the steps since the evaluation before, is higher than the one before. A seed that stops early keeps the networks it
had then. One whose losses, actions or metrics are not finite has none worth keeping: zeros stand in for them, so that
every evaluation is of finite numbers, and its checkpoint holds NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers.trainer import Trainer


@dataclass(frozen=True)
class Divergence:
    """Where one seed's training ceased to be numbers: the first step at which that was seen, and what was not."""

    step: int
    reason: str
    #: the losses when they were last finite, and the step of that; nothing where they never were
    last: Mapping[str, float]


class Halting:
    """Watches a trainer's S seeds. A seed is named by its place, 0 to S - 1."""

    def __init__(self, trainer: Trainer, early: bool = False):
        """`early`: whether seeds stop early too."""
        self._trainer, self._early = trainer, early
        self._before: np.ndarray | None = None
        self._last: dict[str, Tensor] = {}
        self._last_step = 0
        #: seed's place -> its slice of every parameter when it stopped early
        self._kept: dict[int, list[Tensor]] = {}
        #: seed's place -> how it diverged
        self.diverged: dict[int, Divergence] = {}

    @property
    def stopped_early(self) -> list[int]:
        """Places of the seeds that stopped early."""
        return sorted(self._kept)

    @property
    def halted(self) -> list[int]:
        """Places of the seeds that train on only because the others do."""
        return sorted({*self._kept, *self.diverged})

    def state_dict(self) -> dict[str, Any]:
        before = None if self._before is None else torch.from_numpy(self._before)
        diverged = {place: asdict(how) for place, how in self.diverged.items()}
        return {"before": before, "kept": self._kept, "diverged": diverged, "last": (self._last_step, self._last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._before = None if state["before"] is None else state["before"].numpy()
        self._kept = state["kept"]
        self.diverged = {place: Divergence(**how) for place, how in state["diverged"].items()}
        self._last_step, self._last = state["last"]

    @torch.no_grad()
    def put_back(self) -> None:
        """Undo what training has done since to the seeds that have halted."""
        for place, values in self._kept.items():
            for parameter, value in zip(_parameters(self._trainer), values, strict=True):
                parameter[place].copy_(value)
        self._fill_diverged(0.0)

    def mark_weights(self) -> None:
        """Let the weights of the seeds that diverged say so."""
        self._fill_diverged(torch.nan)

    def watch(self, losses: Mapping[str, Tensor]) -> list[int]:
        """Halt the seeds of whose losses `[S]` one is not finite; returns the places of those that just did."""
        # one wait for the device, not one for each loss
        finite = [loss.isfinite().all() for loss in losses.values()]
        bad: dict[int, str] = {}
        if finite and not torch.stack(finite).all():
            for name, loss in losses.items():
                for place, value in enumerate(loss.tolist()):
                    if not np.isfinite(value):
                        bad.setdefault(place, f"{name} is not finite")
        new = [place for place, reason in bad.items() if self.halt(place, reason)]
        # a replayed step overwrites what it returned
        self._last |= {name: loss.clone() for name, loss in losses.items()}
        self._last_step = self._trainer.step
        return new

    def halt(self, place: int, reason: str) -> bool:
        """Note that a seed has diverged; False where it had halted before."""
        if place in self.halted:
            return False
        last = {name: loss[place].item() for name, loss in self._last.items()}
        finite = {name: value for name, value in last.items() if np.isfinite(value)}
        self.diverged[place] = Divergence(
            self._trainer.step, reason, {"step": self._last_step, **finite} if finite else {}
        )
        return True

    def consider(self, losses: np.ndarray) -> None:
        """Stop the seeds early whose loss `[S]` has risen; called once at each evaluation, after it."""
        if self._early and self._before is not None:
            for place in np.flatnonzero(losses > self._before).tolist():
                if place not in self.halted:
                    self._kept[place] = [p.detach()[place].clone() for p in _parameters(self._trainer)]
        self._before = losses

    @torch.no_grad()
    def _fill_diverged(self, value: float) -> None:
        for place in self.diverged:
            for parameter in _parameters(self._trainer):
                parameter[place].fill_(value)


def _parameters(trainer: Trainer) -> list[Tensor]:
    """Every parameter `[S, ...]`, targets included."""
    targets = (trainer.target_policy, trainer.target_critic)
    modules = [*trainer.learners().values(), *(part for part in targets if isinstance(part, nn.Module))]
    return [p for module in modules for p in module.parameters()]
