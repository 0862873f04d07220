"""Monotone rational-quadratic splines (Durkan et al. 2019, arXiv 1906.04032, section 3.1). Pure functions.

On [-BOUND, BOUND] a spline of K pieces goes through K + 1 rising knots with given slopes; outside it is the identity,
and the slopes at its ends are 1. It is inverted in closed form. Axes: K pieces.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

#: atanh of an action of 0.9999 is 4.95
BOUND = 5.0
#: least share of a piece in width and height, and least slope
LEAST, LEAST_SLOPE = 1e-3, 1e-3
#: what softplus takes to a slope of 1
UNIT = math.log(math.expm1(1 - LEAST_SLOPE))


class Piece(NamedTuple):
    """Of each point: start, width and height of its piece, and the slopes at either end, all `[...]`."""

    x: Tensor
    y: Tensor
    width: Tensor
    height: Tensor
    slope: Tensor
    next_slope: Tensor


def parameters_of(pieces: int) -> int:
    """Numbers that one spline takes."""
    return 3 * pieces - 1


def forward(x: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """y and log dy/dx at x `[...]`, for unconstrained parameters `[..., 3 K - 1]`; zeros are the identity."""
    inside = x.clamp(-BOUND, BOUND)
    p = _piece(inside, raw, by_height=False)
    at = ((inside - p.x) / p.width).clamp(0, 1)
    steepness, middle = p.height / p.width, at * (1 - at)
    below = steepness + (p.next_slope + p.slope - 2 * steepness) * middle
    y = p.y + p.height * (steepness * at.square() + p.slope * middle) / below
    return _or_identity(x, y, _log_slope(p, at))


def inverse(y: Tensor, raw: Tensor) -> tuple[Tensor, Tensor]:
    """x and log dx/dy at y `[...]`: what `forward` took to y (eqs. 6 to 8 there)."""
    inside = y.clamp(-BOUND, BOUND)
    p = _piece(inside, raw, by_height=True)
    steepness, above = p.height / p.width, inside - p.y
    bend = p.next_slope + p.slope - 2 * steepness
    a, b, c = p.height * (steepness - p.slope) + above * bend, p.height * p.slope - above * bend, -steepness * above
    at = (2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
    return _or_identity(y, p.x + at * p.width, -_log_slope(p, at))


def _log_slope(p: Piece, at: Tensor) -> Tensor:
    steepness, middle = p.height / p.width, at * (1 - at)
    below = steepness + (p.next_slope + p.slope - 2 * steepness) * middle
    rise = p.next_slope * at.square() + 2 * steepness * middle + p.slope * (1 - at).square()
    return 2 * steepness.log() + rise.log() - 2 * below.log()


def _or_identity(given: Tensor, found: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
    outside = given.abs() >= BOUND
    return torch.where(outside, given, found), log_slope.masked_fill(outside, 0.0)


def _piece(at: Tensor, raw: Tensor, by_height: bool) -> Piece:
    pieces = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw.split([pieces, pieces, pieces - 1], dim=-1)
    xs, ys = _knots(widths), _knots(heights)
    slopes = F.pad(LEAST_SLOPE + F.softplus(slopes + UNIT), (1, 1), value=1.0)
    index = ((ys if by_height else xs)[..., 1:-1] <= at[..., None]).sum(-1, keepdim=True)

    def there(values: Tensor, ahead: int = 0) -> Tensor:
        return values.gather(-1, index + ahead).squeeze(-1)

    x, y = there(xs), there(ys)
    return Piece(x, y, there(xs, 1) - x, there(ys, 1) - y, there(slopes), there(slopes, 1))


def _knots(raw: Tensor) -> Tensor:
    """`[..., K] -> [..., K + 1]`, rising from -BOUND to BOUND."""
    shares = LEAST + (1 - LEAST * raw.shape[-1]) * raw.softmax(-1)
    inner = BOUND * (2 * shares.cumsum(-1)[..., :-1] - 1)
    return F.pad(F.pad(inner, (1, 0), value=-BOUND), (0, 1), value=BOUND)
