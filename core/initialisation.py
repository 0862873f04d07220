"""How the weight (out, in) and bias of one linear layer start, drawn from one generator, in place."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def as_torch(weight: Tensor, bias: Tensor, generator: torch.Generator) -> None:
    """U(-b, b) with b = 1 / sqrt(in), for both: what `nn.Linear` does."""
    bound = 1 / math.sqrt(weight.shape[1])
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    nn.init.uniform_(bias, -bound, bound, generator=generator)


def orthogonal(weight: Tensor, bias: Tensor, generator: torch.Generator) -> None:
    """Orthogonal times sqrt(2) (Saxe et al. 2014, arXiv 1312.6120; IQL as released), bias 0."""
    nn.init.orthogonal_(weight, math.sqrt(2), generator=generator)
    nn.init.zeros_(bias)


def fan_average(weight: Tensor, bias: Tensor, generator: torch.Generator) -> None:
    """U(-b, b) with b = sqrt(6 / (in + out)) (Glorot & Bengio 2010, eq. 16; FQL as released), bias 0."""
    nn.init.xavier_uniform_(weight, generator=generator)
    nn.init.zeros_(bias)


INITIALISATIONS: dict[str, Callable[[Tensor, Tensor, torch.Generator], None]] = {
    "torch": as_torch,
    "orthogonal": orthogonal,
    "fan-average": fan_average,
}
