"""Data whose denoiser and probability flow are known in closed form. A level (alpha, sigma): x = alpha a + sigma n."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Gaussian:
    """N(mean, R diag(deviations^2) R^T) over two dimensions, R a rotation by `angle`."""

    mean: tuple[float, float]
    deviations: tuple[float, float]
    angle: float

    def __post_init__(self):
        c, s = math.cos(self.angle), math.sin(self.angle)
        self.rotation = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        self.centre = torch.tensor(self.mean, dtype=torch.float64)
        self.variances = torch.tensor(self.deviations, dtype=torch.float64).square()
        self.covariance = self._spectral(self.variances)

    def _spectral(self, values: Tensor) -> Tensor:
        return self.rotation @ torch.diag(values) @ self.rotation.T

    def clean(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        """E[a | x], x `[..., 2]`."""
        gain = self._spectral(alpha * self.variances / (alpha**2 * self.variances + sigma**2))
        return self.centre + (x - alpha * self.centre) @ gain

    def flow(self, x: Tensor, start: tuple[float, float], end: tuple[float, float]) -> Tensor:
        """Where the probability-flow ODE takes x from one level to another: deviations scale, the centre moves."""
        before, after = (a**2 * self.variances + s**2 for a, s in (start, end))
        return end[0] * self.centre + (x - start[0] * self.centre) @ self._spectral((after / before).sqrt())


@dataclass
class Mixture:
    """A mixture of Gaussians on a line, over the last axis of size one."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def __post_init__(self):
        w, m, d = (torch.tensor(v, dtype=torch.float64) for v in (self.weights, self.means, self.deviations))
        self.w, self.m, self.d2 = w / w.sum(), m, d.square()
        self.mean = (self.w * m).sum()
        self.variance = (self.w * (self.d2 + m.square())).sum() - self.mean.square()

    def clean(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        total = alpha**2 * self.d2 + sigma**2
        away = x - alpha * self.m
        share = (self.w.log() - total.log() / 2 - away.square() / (2 * total)).softmax(-1)
        return (share * (self.m + alpha * self.d2 / total * away)).sum(-1, keepdim=True)

    def cdf(self, x: Tensor, alpha: float, sigma: float) -> Tensor:
        scale = (alpha**2 * self.d2 + sigma**2).sqrt()
        return (self.w * torch.special.ndtr((x - alpha * self.m) / scale)).sum(-1, keepdim=True)

    def flow(self, x: Tensor, start: tuple[float, float], end: tuple[float, float]) -> Tensor:
        """On a line the flow keeps order and carries the marginals, so it keeps quantiles: found by bisection."""
        goal = self.cdf(x, *start)
        low, high = torch.full_like(x, -60.0), torch.full_like(x, 60.0)
        for _ in range(80):
            middle = (low + high) / 2
            below = self.cdf(middle, *end) < goal
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (low + high) / 2


def order(errors: list[float]) -> float:
    """The measured order from errors at n, 2 n, 4 n, ... steps: the last halving's."""
    return math.log2(errors[-2] / errors[-1])
