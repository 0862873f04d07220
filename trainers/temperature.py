"""A learned weight of the entropy, which holds it to a target (SAC, arXiv 1812.05905, section 5)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """alpha > 0 of each seed, 1 at first; it rises while the entropy is below `per_dimension` times A."""

    def __init__(self, seeds: int, per_dimension: float, act_dim: int):
        super().__init__()
        self.target = per_dimension * act_dim
        self.log_alpha = nn.Parameter(torch.zeros(seeds, 1))

    def forward(self) -> Tensor:
        """alpha, `[S, 1]`; no gradient reaches it."""
        return self.log_alpha.exp().detach()

    def loss(self, log_prob: Tensor) -> Tensor:
        """alpha (entropy - target), the entropy by samples' log-densities `[S, B]`, held fixed."""
        return self.log_alpha.exp() * (-log_prob.detach() - self.target)
