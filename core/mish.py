"""Mish, x tanh(softplus(x)) (Misra 2019, arXiv 1908.08681), fused: torch's own costs as much as a matrix product.

With n = e^x (e^x + 2), Mish is x n / (n + 2) and its slope (n + 4 x (n - e^x) / (n + 2)) / (n + 2). Both are
computed in one pass over x, so that the backward pass is a single product.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from core.fusion import fusable, fused

#: above this, x n / (n + 2) is x to the last bit, and e^x would overflow further up
LINEAR_FROM = 20.0


def mish_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mish and its derivative at each entry."""
    e = torch.exp(x.clamp(max=LINEAR_FROM))
    n = e * (e + 2)
    r = 1 / (n + 2)
    return x * n * r, r * (n + 4 * x * r * (n - e))


_kernel = fusable(dynamic=True)(mish_and_slope)


class _FusedMish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        value, slope = _kernel(x)
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return grad * slope


def mish(x: Tensor) -> Tensor:
    """Mish of each entry, by the fused kernel where fusion is on."""
    return _FusedMish.apply(x) if fused() else F.mish(x)
