"""How runs are carried out: what changes none of their numbers, and so is in no record."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Execution:
    """Where runs are trained, how often they are kept, and where one may watch them."""

    device: torch.device
    #: seeds trained together; None: as many as fit in memory
    at_once: int | None = None
    #: seconds between two writings of how far a run has come; None: the default
    every: float | None = None
    #: names of `loggers.LOGGERS` that follow training, beside the CSV file that always does
    loggers: tuple[str, ...] = ()
    #: steps between two rows of losses; None: a two-hundredth of a run
    log_every: int | None = None
