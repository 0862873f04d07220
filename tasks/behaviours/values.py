"""What modes are worth, by their number: spread evenly over [0, HIGHEST], neighbours far apart."""

from __future__ import annotations

import torch
from torch import Tensor

#: of any mode, as on the released bandit
HIGHEST = 5.0


def mode_values(count: int) -> Tensor:
    """A value for each of so many modes `[K]`; of one mode HIGHEST.

    Evenly spaced, in an order that is mixed up and always the same, so that no direction goes from worst to best.
    """
    if count == 1:
        return torch.tensor([HIGHEST], dtype=torch.float64)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(count))
    return torch.linspace(0, HIGHEST, count, dtype=torch.float64)[order]
