"""Whether Q stays near what the data can return: said once where it does not, as it is how overestimation begins.

No discounted return of rewards within [low, high] leaves [min(low, low / (1 - discount)), max(high, high / (1 -
discount))]. A mean target outside that by more than the width of the range is no rounding of a network.
"""

from __future__ import annotations

import sys

from torch import Tensor
from tqdm import tqdm

from ablations.plan.config import RunConfig
from core.types import Transitions

#: the record of the mean target of each seed's batch, `[S]` (trainers/trainer.py)
TARGET = "target_q"


class QRange:
    """Of one training on one set of transitions."""

    def __init__(self, dataset: Transitions):
        low, high = dataset.reward.min().item(), dataset.reward.max().item()
        discount = dataset.discount.max().item()
        #: a discount of 1 bounds nothing
        self.bounded = discount < 1
        if self.bounded:
            self.low, self.high = min(low, low / (1 - discount)), max(high, high / (1 - discount))
            self.margin = max(self.high - self.low, abs(self.low), abs(self.high))
        self._said = False

    def far(self, value: float) -> bool:
        """Whether a value is far outside of what can be returned; what is not finite diverges, and is said there."""
        return self.bounded and (
            float("-inf") < value < self.low - self.margin or self.high + self.margin < value < float("inf")
        )

    def check(self, run: RunConfig, step: int, losses: dict[str, Tensor]) -> None:
        """Say it in a line, the first time."""
        if self._said or not self.bounded or TARGET not in losses:
            return
        for seed, value in zip(run.seeds, losses[TARGET].tolist(), strict=True):
            if self.far(value):
                self._said = True
                tqdm.write(
                    f"{run.label}: Q of seed {seed} is {value:.3g} at step {step}; rewards of the data allow "
                    f"{self.low:.3g} to {self.high:.3g}, so its policy learns from errors of Q",
                    sys.stderr,
                )
                return
