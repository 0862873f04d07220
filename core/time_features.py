"""What a network is told of a noise level: features of a time, then a small network over them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from core import network_pass
from core.mish import mish
from core.networks import Linear

#: deviation of the frequencies of Fourier features: learned (IDQL and QAM, as released), and fixed (SRPO, as released)
FOURIER_STD, FIXED_FOURIER_STD = 0.2, 30.0


class TimeEmbedding(nn.Module):
    """Time -> features: `dim` of them, then `depth` linear layers with Mish between.

    By default, as Diffusion-QL's release, the layers are Linear to 2 dim and Linear back to dim; with `width` every
    layer has that many outputs.
    """

    learned: Tensor | None
    fixed: Tensor | None

    def __init__(
        self,
        lead: tuple[int, ...],
        dim: int,
        init: Sequence[torch.Generator],
        features: str = "sinusoidal",
        width: int | None = None,
        depth: int = 2,
    ):
        super().__init__()
        self.lead, self.features = lead, FEATURES[features]
        #: of what it returns
        self.dim = dim if width is None else width
        learned = fixed = None
        if features.startswith("fourier"):
            drawn = torch.stack([torch.empty(dim // 2).normal_(generator=generator) for generator in init])
            learned = nn.Parameter(FOURIER_STD * drawn) if features == "fourier" else None
            fixed = FIXED_FOURIER_STD * drawn if learned is None else None
        self.register_parameter("learned", learned)
        self.register_buffer("fixed", fixed)
        inner = 2 * dim if width is None else width
        self.widen = Linear(lead, dim, inner, init)
        self.between = nn.ModuleList(Linear(lead, inner, inner, init) for _ in range(depth - 2))
        self.narrow = Linear(lead, inner, self.dim, init)
        self._raw_dim = dim

    @property
    def frequencies(self) -> Tensor | None:
        """Of Fourier features, `[S, dim / 2]`."""
        return self.learned if self.learned is not None else self.fixed

    def forward(self, t: Tensor) -> Tensor:
        """t `[S, B]` -> `[S, B, dim]`."""
        layers = [self.widen, *self.between, self.narrow]
        features = self.features(t, self._raw_dim, self.frequencies).to(self.widen.weight.dtype)
        weights = [layer.weight for layer in layers]
        if network_pass.applies(features, weights):
            return network_pass.run(features, weights, [layer.bias for layer in layers])
        for layer in layers[:-1]:
            features = mish(layer(features))
        return layers[-1](features)


def sinusoidal(t: Tensor, dim: int, frequencies: Tensor | None = None) -> Tensor:
    """Sines and cosines of t at dim / 2 geometric frequencies from 1 to 1/10000; `[...] -> [..., dim]`, float64."""
    angles = _angles(t, dim // 2, max(dim // 2 - 1, 1))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def cosines_first(t: Tensor, dim: int, frequencies: Tensor | None = None) -> Tensor:
    """Cosines and sines of t at frequencies 10000^(-i / h), i = 0..h-1, h = dim / 2 (EDP, as released); float64."""
    angles = _angles(t, dim // 2, dim // 2)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _angles(t: Tensor, half: int, spread: int) -> Tensor:
    frequencies = torch.exp(torch.arange(half, dtype=torch.float64, device=t.device) * (-math.log(10000) / spread))
    return t.to(torch.float64)[..., None] * frequencies


def fourier(t: Tensor, dim: int, frequencies: Tensor | None) -> Tensor:
    """Cosines and sines of 2 pi t w, w `[S, dim / 2]` the learned frequencies; t `[S, B]` -> `[S, B, dim]`."""
    assert frequencies is not None
    angles = 2 * math.pi * t.to(frequencies.dtype)[..., None] * frequencies[:, None]
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def fixed_fourier(t: Tensor, dim: int, frequencies: Tensor | None) -> Tensor:
    """Sines and cosines of 2 pi t w, w `[S, dim / 2]` drawn once and kept (SRPO, as released)."""
    assert frequencies is not None
    angles = 2 * math.pi * t.to(frequencies.dtype)[..., None] * frequencies[:, None]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


#: name -> (times, number of features, frequencies) -> features
FEATURES: dict[str, Callable[[Tensor, int, Tensor | None], Tensor]] = {
    "sinusoidal": sinusoidal,
    "cosines-first": cosines_first,
    "fourier": fourier,
    "fourier-fixed": fixed_fourier,
}
