"""Mish, x tanh(softplus(x)) (Misra 2019, arXiv 1908.08681), and its derivative from the same exponential.

With n = e^x (e^x + 2), Mish is x n / (n + 2) and its slope (n + 4 x (n - e^x) / (n + 2)) / (n + 2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

#: above this, x n / (n + 2) is x to the last bit, and e^x would overflow further up
LINEAR_FROM = 20.0


def mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mish and its derivative at each entry."""
    e = torch.exp(x.clamp(max=LINEAR_FROM))
    n = e * (e + 2)
    r = 1 / (n + 2)
    return x * n * r, r * (n + 4 * x * r * (n - e))


def mish(x: Tensor) -> Tensor:
    """Mish of each entry."""
    return F.mish(x)
