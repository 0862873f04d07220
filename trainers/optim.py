"""Optimisation of S replicas at once: every reduction is over one replica only."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def grad_norms(grads: Sequence[Tensor]) -> Tensor:
    """2-norm over all gradients of each replica: tensors `[S, ...]` -> `[S]`."""
    return torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)


def clip_per_replica(grads: Sequence[Tensor], norms: Tensor, max_norm: float) -> list[Tensor]:
    """Gradients scaled so that no replica's norm exceeds `max_norm`, as `clip_grad_norm_` scales one model's."""
    scale = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return [grad * scale.view(-1, *[1] * (grad.dim() - 1)) for grad in grads]
