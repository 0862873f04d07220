"""Networks whose parameters carry leading axes: `[S, ...]` for S seeds, `[S, K, ...]` for K critics of each.

A layer is `x @ W + b[..., None, :]` with W `[*lead, in, out]`: S independent networks in one batched product.
Replica s is initialised exactly as one `nn.Linear` would be, from the generator of seed s.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core import network_pass
from core.mish import mish
from core.options import Options, option

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"mish": mish, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}


@dataclass(frozen=True)
class NetworkConfig(Options):
    """The network budget every policy class and the critic share."""

    hidden: int = option(256, "units of each hidden layer", at_least=1)
    depth: int = option(3, "hidden layers of each network", at_least=1)
    activation: str = option("mish", "activation of the hidden layers", choices=tuple(ACTIVATIONS))


class Linear(nn.Module):
    """`[*lead, B, in] -> [*lead, B, out]`, a linear map of its own for each index of the leading axes."""

    def __init__(self, lead: tuple[int, ...], d_in: int, d_out: int, init: Sequence[torch.Generator]):
        super().__init__()
        weight = torch.empty(*lead, d_out, d_in)
        bias = torch.empty(*lead, d_out)
        bound = 1 / math.sqrt(d_in)
        for replica, generator in enumerate(init):
            for w, b in zip(weight[replica].view(-1, d_out, d_in), bias[replica].view(-1, d_out), strict=True):
                nn.init.kaiming_uniform_(w, a=math.sqrt(5), generator=generator)
                nn.init.uniform_(b, -bound, bound, generator=generator)
        self.weight = nn.Parameter(weight.transpose(-1, -2).contiguous())
        self.bias = nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return affine(x, self.weight, self.bias)


def affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`x @ weight + bias[..., None, :]` in one batched product; x `[*lead, B, in]`, weight `[*lead, in, out]`."""
    flat = torch.baddbmm(bias.flatten(0, -2)[:, None], x.flatten(0, -3), weight.flatten(0, -3))
    return flat.view(*x.shape[:-1], weight.shape[-1])


class LayerNorm(nn.Module):
    """`[*lead, B, d] -> [*lead, B, d]`, each vector to mean 0 and variance 1, then a gain and a bias for each index."""

    def __init__(self, lead: tuple[int, ...], dim: int):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(*lead, dim))
        self.bias = nn.Parameter(torch.zeros(*lead, dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.gain[..., None, :] + self.bias[..., None, :]


class MLP(nn.Module):
    """`depth` hidden layers and a linear output, `[*lead, B, d_in] -> [*lead, B, d_out]`.

    With `layer_norm`, each hidden layer's activations are normalised (as FQL's critic: after the activation).
    """

    def __init__(
        self,
        lead: tuple[int, ...],
        d_in: int,
        d_out: int,
        network: NetworkConfig,
        init: Sequence[torch.Generator],
        layer_norm: bool = False,
    ):
        super().__init__()
        sizes = [d_in] + [network.hidden] * network.depth + [d_out]
        self.layers: Sequence[Linear] = nn.ModuleList(  # type: ignore[assignment]
            Linear(lead, a, b, init) for a, b in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(
            LayerNorm(lead, network.hidden) if layer_norm else nn.Identity() for _ in range(network.depth)
        )
        self.activation = ACTIVATIONS[network.activation]
        #: nothing but linear layers and Mish, which is what the compiled kernels know
        self.plain = self.activation is mish and not layer_norm

    def forward(self, x: Tensor) -> Tensor:
        if self.plain:
            weights = [layer.weight for layer in self.layers]
            if network_pass.applies(x, weights):
                return network_pass.run(x, weights, [layer.bias for layer in self.layers])
        # autocast makes the output bfloat16; losses are not to be
        return self.tail(self.layers[0](x)).to(x.dtype)

    def tail(self, first: Tensor) -> Tensor:
        """The network after its first linear layer, whose output (before activation) is `first` `[*lead, B, h]`."""
        hidden = first
        for layer, norm in zip(self.layers[1:], self.norms, strict=True):
            hidden = layer(norm(self.activation(hidden)))
        return hidden


class TimeEmbedding(nn.Module):
    """Diffusion step -> features: sinusoidal `dim`, Linear to 2 dim, Mish, Linear to dim (as released)."""

    def __init__(self, lead: tuple[int, ...], dim: int, init: Sequence[torch.Generator]):
        super().__init__()
        self.dim, self.lead = dim, lead
        self.widen = Linear(lead, dim, 2 * dim, init)
        self.narrow = Linear(lead, 2 * dim, dim, init)

    def forward(self, t: Tensor) -> Tensor:
        """t `[S, B]` -> `[S, B, dim]`."""
        features = sinusoidal(t, self.dim).to(self.widen.weight.dtype)
        weights = [self.widen.weight, self.narrow.weight]
        if network_pass.applies(features, weights):
            return network_pass.run(features, weights, [self.widen.bias, self.narrow.bias])
        return self.narrow(mish(self.widen(features)))


def sinusoidal(t: Tensor, dim: int) -> Tensor:
    """Sines and cosines of t at dim / 2 geometric frequencies from 1 to 1/10000; `[...] -> [..., dim]`, float64."""
    half = dim // 2
    frequencies = torch.exp(
        torch.arange(half, dtype=torch.float64, device=t.device) * (-math.log(10000) / max(half - 1, 1))
    )
    angles = t.to(torch.float64)[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
