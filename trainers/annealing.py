"""How learning rates fall over a run: step -> factor on every learning rate. Pure, so a resumed run needs no state.

cosine:       (1 + cos(pi k / n)) / 2 at step k of n (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one period)
as released:  the same curve at the number of evaluations so far out of the number of epochs, which is what
              Diffusion-QL's `--lr_decay` does: its scheduler steps once per evaluation (50 epochs) and counts to the
              epochs, so that a run of 2000 epochs ends at 0.999 of its rate.

The cosine falls at every step and not once per epoch, as the release meant: a run here has steps and no epochs, and
what it learns must not depend on how often it is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: steps of an epoch in the release
EPOCH = 1000

Annealing = Callable[[int], float]


def cosine(steps: int) -> Annealing:
    """1 before the first of `steps` steps, 0 after the last."""
    return lambda step: (1 + math.cos(math.pi * min(step, steps) / steps)) / 2


def as_released(steps: int, every: int) -> Annealing:
    """The factor after `step // every` evaluations of a scheduler that counts to steps / 1000."""
    epochs = max(1, steps // EPOCH)
    return lambda step: (1 + math.cos(math.pi * (step // every) / epochs)) / 2


#: name -> (steps of the run, steps between evaluations) -> annealing; None leaves the rates alone
ANNEALINGS: dict[str, Callable[[int, int], Annealing | None]] = {
    "none": lambda steps, every: None,
    "cosine": lambda steps, every: cosine(steps),
    "as-released": as_released,
}
