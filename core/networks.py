"""Networks whose parameters carry leading axes: `[S, ...]` for S seeds, `[S, K, ...]` for K critics of each.

A layer is `x @ W + b[..., None, :]` with W `[*lead, in, out]`: S independent networks in one batched product.
Replica s is initialised exactly as one `nn.Linear` would be, from the generator of seed s, unless `network.init` says
otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core import network_pass
from core.initialisation import INITIALISATIONS
from core.mish import mish
from core.options import OptionError, Options, option
from core.rng import Rng


def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh approximation (Hendrycks & Gimpel 2016, arXiv 1606.08415), which JAX means by gelu."""
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mish": mish,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu-tanh": gelu_tanh,
    "silu": F.silu,
}
#: how much wider a residual block is inside (IDQL and SRPO, as released)
WIDENING = 4


@dataclass(frozen=True)
class NetworkConfig(Options):
    """The network budget every policy class and the critic share."""

    hidden: int = option(256, "units of each hidden layer", at_least=1)
    depth: int = option(3, "hidden layers of each network, or residual blocks", at_least=1)
    activation: str = option("mish", "activation of the hidden layers", choices=tuple(ACTIVATIONS))
    norm: str = option(
        "none", "LayerNorm of each hidden layer, before or after its activation", choices=("none", "before", "after")
    )
    norm_eps: float = option(1e-5, "epsilon of LayerNorm (PyTorch: 1e-5, JAX: 1e-6)", above=0)
    input_norm: bool = option(False, "LayerNorm of the network's input (IDQL's plain network)")
    block: str = option(
        "plain", "hidden layers: plain, or residual blocks with LayerNorm (IDQL)", choices=("plain", "residual-ln")
    )
    dropout: float = option(
        0.0, "dropout of residual blocks in a denoising policy's own loss (IDQL: 0.1)", at_least=0, at_most=0.9
    )
    init: str = option(
        "torch",
        "initial weights: PyTorch's uniform, orthogonal, or fan-average uniform",
        choices=tuple(INITIALISATIONS),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropout and self.block == "plain":
            raise OptionError(f"dropout is of block residual-ln, and plain has none; leave it out, got {self.dropout}")
        if self.norm != "none" and self.block == "residual-ln":
            raise OptionError(f"norm is of block plain; residual-ln has its own, got {self.norm!r}")


class Linear(nn.Module):
    """`[*lead, B, in] -> [*lead, B, out]`, a linear map of its own for each index of the leading axes."""

    def __init__(
        self, lead: tuple[int, ...], d_in: int, d_out: int, init: Sequence[torch.Generator], scheme: str = "torch"
    ):
        super().__init__()
        weight = torch.empty(*lead, d_out, d_in)
        bias = torch.empty(*lead, d_out)
        for replica, generator in enumerate(init):
            for w, b in zip(weight[replica].view(-1, d_out, d_in), bias[replica].view(-1, d_out), strict=True):
                INITIALISATIONS[scheme](w, b, generator)
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

    def __init__(self, lead: tuple[int, ...], dim: int, eps: float = 1e-5):
        super().__init__()
        self.eps = eps
        self.gain = nn.Parameter(torch.ones(*lead, dim))
        self.bias = nn.Parameter(torch.zeros(*lead, dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.gain[..., None, :] + self.bias[..., None, :]


class MLP(nn.Module):
    """`depth` hidden layers and a linear output, `[*lead, B, d_in] -> [*lead, B, d_out]`.

    A hidden layer is linear, activation, and LayerNorm before or after the activation where asked (FQL's critic:
    after, `layer_norm`). With block `residual-ln` (IDQL, arXiv 2304.10573, as released) a linear layer is followed by
    `depth` blocks h + down(act(up(LayerNorm(dropout(h))))), an activation and the linear output; its `layers` are the
    first, then up and down of each block, then the last.
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
        hidden, self.residual, self.dropout = network.hidden, network.block == "residual-ln", network.dropout
        self.norm_first = network.norm == "before" and not layer_norm
        between = [hidden * WIDENING, hidden] if self.residual else [hidden]
        sizes = [d_in, hidden, *between * (network.depth if self.residual else network.depth - 1), d_out]
        self.layers: Sequence[Linear] = nn.ModuleList(  # type: ignore[assignment]
            Linear(lead, a, b, init, network.init) for a, b in itertools.pairwise(sizes)
        )
        normed = layer_norm or self.residual or network.norm != "none"
        self.norms = nn.ModuleList(
            LayerNorm(lead, hidden, network.norm_eps) if normed else nn.Identity() for _ in range(network.depth)
        )
        self.input_norm = LayerNorm(lead, d_in, network.norm_eps) if network.input_norm else None
        self.activation = ACTIVATIONS[network.activation]
        #: nothing but linear layers and Mish, which is what the compiled kernels know
        self.plain = self.activation is mish and not normed and self.input_norm is None

    def forward(self, x: Tensor, rng: Rng | None = None) -> Tensor:
        """With `rng`, from which dropout draws `[B, h]` for each block; without there is no dropout."""
        if self.plain:
            weights = [layer.weight for layer in self.layers]
            if network_pass.applies(x, weights):
                return network_pass.run(x, weights, [layer.bias for layer in self.layers])
        first = self.layers[0](x if self.input_norm is None else self.input_norm(x))
        # autocast makes the output bfloat16; losses are not to be
        return self.tail(first, rng).to(x.dtype)

    def tail(self, first: Tensor, rng: Rng | None = None) -> Tensor:
        """The network after its first linear layer, whose output (before activation) is `first` `[*lead, B, h]`."""
        if self.residual:
            return self._blocks(first, rng)
        hidden = first
        for layer, norm in zip(self.layers[1:], self.norms, strict=True):
            hidden = layer(self.activation(norm(hidden)) if self.norm_first else norm(self.activation(hidden)))
        return hidden

    def _blocks(self, hidden: Tensor, rng: Rng | None) -> Tensor:
        for up, down, norm in zip(self.layers[1:-1:2], self.layers[2:-1:2], self.norms, strict=True):
            kept = hidden if rng is None or not self.dropout else dropped(hidden, self.dropout, rng)
            hidden = hidden + down(self.activation(up(norm(kept))))
        return self.layers[-1](self.activation(hidden))


def dropped(x: Tensor, rate: float, rng: Rng) -> Tensor:
    """Entries of x `[S, ...]` set to 0 at random with probability `rate`, the others divided by 1 - rate."""
    return torch.where(rng.uniform(*x.shape[1:]) > rate, x / (1 - rate), 0)
