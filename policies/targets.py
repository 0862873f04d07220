"""What a denoising network is trained to say, conversions between the choices, and how much each noise level counts.

With alpha = sqrt(abar), sigma = sqrt(1 - abar) and x_t = alpha x_0 + sigma eps, a target is a linear combination of
x_0 and eps: epsilon itself (Ho et al. 2020), x0 itself, or v = alpha eps - sigma x_0 (Salimans & Ho 2022, arXiv
2202.00512, appendix D). Given x_t, each is a linear function of any other. All is elementwise in abar, of any shape.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: name -> its shares (of x_0, of eps), from alpha and sigma
TARGETS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "epsilon": lambda alpha, sigma: (torch.zeros_like(alpha), torch.ones_like(alpha)),
    "x0": lambda alpha, sigma: (torch.ones_like(alpha), torch.zeros_like(alpha)),
    "v": lambda alpha, sigma: (-sigma, alpha),
}

#: name -> the weight of |x_0 - predicted x_0|^2 at a signal-to-noise ratio; none: 1 on the target's own error
WEIGHTINGS: dict[str, Callable[[Tensor, float], Tensor] | None] = {
    "uniform": None,
    "min-snr": lambda snr, gamma: snr.clamp(max=gamma),
    "matched": lambda snr, gamma: snr,
}


def shares(target: str, abar: Tensor) -> tuple[Tensor, Tensor]:
    """(p, q) with target = p x_0 + q eps."""
    return TARGETS[target](abar.sqrt(), (1 - abar).sqrt())


def to_clean(target: str, abar: Tensor) -> tuple[Tensor, Tensor]:
    """(c0, c1) with x_0 = c0 x_t + c1 target. For epsilon infinite at abar = 0, where x_t says nothing of x_0."""
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    p, q = TARGETS[target](alpha, sigma)
    determinant = alpha * q - sigma * p
    return q / determinant, -sigma / determinant


def to_noise(target: str, abar: Tensor) -> tuple[Tensor, Tensor]:
    """(e0, e1) with eps = e0 x_t + e1 target. For x0 infinite at abar = 1, where x_t says nothing of eps."""
    alpha, sigma = abar.sqrt(), (1 - abar).sqrt()
    p, q = TARGETS[target](alpha, sigma)
    determinant = alpha * q - sigma * p
    return -p / determinant, alpha / determinant


def convert(value: Tensor, x: Tensor, abar: Tensor, source: str, target: str) -> Tensor:
    """A prediction `value` of `source` at x_t = `x`, as the prediction of `target` it amounts to."""
    (c0, c1), (e0, e1) = to_clean(source, abar), to_noise(source, abar)
    p, q = shares(target, abar)
    return p * (c0 * x + c1 * value) + q * (e0 * x + e1 * value)


def loss_weights(weighting: str, target: str, abar: Tensor, gamma: float = 5.0) -> Tensor:
    """The weight of the target's squared error at each noise level.

    An error of the target is c1 times as large in x_0 (`to_clean`), so W |x_0 error|^2 is W c1^2 |target error|^2.

    - uniform: 1 (Ho et al. 2020, eq. 14, for epsilon).
    - min-snr: W = min(SNR, gamma) (Hang et al. 2023, arXiv 2303.09556, section 3.4), for every target the same loss.
    - matched: W = SNR, the uniform epsilon loss, whatever the target.
    """
    of_clean = WEIGHTINGS[weighting]
    if of_clean is None:
        return torch.ones_like(abar)
    _, c1 = to_clean(target, abar)
    return of_clean(abar / (1 - abar), gamma) * c1.square()
