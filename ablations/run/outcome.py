"""What training a run leaves in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from ablations.run.halting import Halting
from ablations.run.log import Log
from core.rng import SeedRng
from tasks.base import Evaluation
from trainers.trainer import Trainer


@dataclass
class Outcome:
    """What one run left in memory, to be written."""

    trainer: Trainer
    rng: SeedRng
    halting: Halting
    log: Log
    #: step, and what each view of the run scored there
    evaluations: list[tuple[int, list[Evaluation]]] = field(default_factory=list)
    losses: list[tuple[int, dict[str, np.ndarray]]] = field(default_factory=list)
    #: of the steps since the last stride ended
    latest: dict[str, Tensor] = field(default_factory=dict)
    interrupted: bool = False
    seconds: float = 0.0
