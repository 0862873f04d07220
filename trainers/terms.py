"""What an improvement is: its terms of the loss `mean_B(weight * coef * regularizer + bonus)`, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from core.options import Options
from core.rng import Rng
from core.types import Transitions
from critics.ensemble import Critics
from policies.base import Policy


class ActorTerms(NamedTuple):
    """`weight` of the regularizer and `bonus` added to it, each `[S, B]`."""

    weight: Tensor
    bonus: Tensor


@dataclass(frozen=True)
class Improvement(Options):
    needs_critic: ClassVar[bool] = False
    #: whether it asks the critic's average, not the critic that is trained
    asks_target: ClassVar[bool] = False
    #: whether it adds a bonus, which moves the policy without a regularizer; a weight alone cannot
    adds_bonus: ClassVar[bool] = False
    #: whether it differentiates Q through the policy's samples
    needs_reparameterised: ClassVar[bool] = False
    #: whether it asks for one-step predictions of the clean action
    needs_denoiser: ClassVar[bool] = False
    #: whether the regularizer sees other actions than the data's
    edits: ClassVar[bool] = False

    @property
    def needs_value(self) -> bool:
        """Whether, with these options, the backup must own V."""
        return False

    def __call__(self, policy: Policy, critics: Critics | None, batch: Transitions, rng: Rng) -> ActorTerms:
        raise NotImplementedError

    def edited(self, critics: Critics | None, batch: Transitions) -> Transitions:
        """The batch that the regularizer sees; the critic always learns from the data's own."""
        return batch
