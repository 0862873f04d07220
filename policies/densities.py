"""Diagonal Gaussians and the tanh that squashes them: what the classes with a density share. Pure functions.

If u ~ p and a = tanh(u), then log p(a) = log p(u) - sum_A log(1 - tanh(u)^2) (SAC, arXiv 1812.05905, appendix C).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

LOG_STD_MIN, LOG_STD_MAX = -5.0, 2.0
#: data at the very edge of the box have no finite preimage under tanh
EDGE = 1 - 1e-6


def normal_log_density(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """log N(x; mean, diag(exp(log_std)^2)) in nats, all `[..., A]` -> `[...]`."""
    return (-0.5 * ((x - mean) / log_std.exp()).square() - log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def preimage(act: Tensor, bounded: bool) -> tuple[Tensor, Tensor]:
    """The point the tanh took to `act` `[..., A]`, and the log of its slope there, summed over A, `[...]`.

    If not `bounded` there is no tanh: the action itself, and zeros.
    """
    if not bounded:
        return act, torch.zeros_like(act[..., 0])
    raw = torch.atanh(act.clamp(-EDGE, EDGE))
    return raw, log_slope(raw)


def log_slope(raw: Tensor) -> Tensor:
    """log(1 - tanh(u)^2) at u `[..., A]`, summed over A, `[...]`, in the form that does not cancel."""
    return 2 * (math.log(2) - raw - F.softplus(-2 * raw)).sum(-1)


def squash(raw: Tensor, bounded: bool) -> Tensor:
    """The action of the point before the tanh, if there is one."""
    return raw.tanh() if bounded else raw
