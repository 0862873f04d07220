"""The recipe that all golden files share: initial weights, batches and noise from numpy's frozen legacy stream `R`.

Parameters of a network are compared in the released order and layout; a `Slot` says where each lies in ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.networks import MLP, LayerNorm, Linear
from core.time_features import TimeEmbedding
from core.types import Transitions

#: below this, a difference counts against it and not against the number itself
SMALLEST = 1e-7


class Unreadable(ValueError):
    """A file that is not of the recipe; the message is one line."""


def R(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


class PreparedRng:
    """The released code's stream for one seed, in the order it draws; a stand-in for `SeedRng`."""

    def __init__(self, seed: int):
        self.r = R(seed)

    def normal(self, *shape):
        return torch.from_numpy(np.asarray(self.r.randn(*shape)))[None]

    def uniform(self, *shape):
        return torch.tensor(self.r.uniform(size=shape))[None]

    def integers(self, high, *shape):
        return torch.from_numpy(np.asarray(self.r.randint(0, high, shape)))[None]


def golden_batch(config, step: int, first: int = 1000, next_act: bool = False) -> Transitions:
    """The batch of a step, `[1, B, ...]`."""
    r, size = R(first + step), config["batch"]
    obs, act = r.randn(size, config["obs_dim"]), np.tanh(r.randn(size, config["act_dim"]))
    next_obs, reward = r.randn(size, config["obs_dim"]), r.randn(size, 1)
    not_done = r.uniform(size=(size, 1)) > 0.1
    arrays = [obs, act, reward[:, 0], next_obs, config["discount"] * not_done[:, 0]]
    if next_act:
        arrays.append(np.tanh(r.randn(size, config["act_dim"])))
    return Transitions(*(torch.from_numpy(array)[None] for array in arrays))


def initial(parameters: Sequence[tuple[str, Sequence[int]]], first_seed: int) -> list[np.ndarray]:
    """The golden initial parameters of a network, in listed order."""
    values, bound = [], 0.0
    for k, (name, shape) in enumerate(parameters):
        r = R(first_seed + k)
        if name == "gaussian_fourier.W":
            values.append(30 * r.randn(*shape))
        elif name.endswith("norm_scale"):
            values.append(1 + r.uniform(-0.1, 0.1, shape))
        elif name.endswith("norm_offset"):
            values.append(r.uniform(-0.1, 0.1, shape))
        elif "log_std" in name:
            values.append(r.uniform(-1, 1, shape))
        else:
            bound = 1 / math.sqrt(shape[1]) if len(shape) == 2 else bound
            values.append(r.uniform(-bound, bound, shape))
    return values


@dataclass
class Slot:
    """One parameter of a released network, inside one of ours: `[1, in, out]`, or `[1, K, in, out]` at a head.

    `columns`: of each of our inputs, which it is of the released network's.
    """

    parameter: Tensor
    head: int | None = None
    columns: np.ndarray | None = None
    column: bool = False

    def _ours(self) -> Tensor:
        return self.parameter[0] if self.head is None else self.parameter[0, self.head]

    def read(self) -> np.ndarray:
        """As released: weights (out, in)."""
        ours = self._ours().detach().numpy()
        if self.column:
            return ours[:, None]
        if ours.ndim == 1:
            return ours
        if self.columns is None:
            return ours.T
        released = np.empty_like(ours.T)
        released[:, self.columns] = ours.T
        return released

    def write(self, value: np.ndarray) -> None:
        if self.column:
            value = value[:, 0]
        elif value.ndim == 2:
            value = (value if self.columns is None else value[:, self.columns]).T
        with torch.no_grad():
            self._ours().copy_(torch.from_numpy(np.ascontiguousarray(value)))


def places(*sizes: int, order: Sequence[int]) -> np.ndarray:
    """Columns of a released input made of blocks of `sizes`, for ours that takes the blocks in `order`."""
    starts = np.cumsum([0, *sizes])
    return np.concatenate([np.arange(starts[block], starts[block + 1]) for block in order])


def of_linear(layer: Linear, head: int | None = None, columns: np.ndarray | None = None) -> list[Slot]:
    return [Slot(layer.weight, head, columns), Slot(layer.bias, head)]


def of_norm(norm: LayerNorm, head: int | None = None) -> list[Slot]:
    return [Slot(norm.gain, head), Slot(norm.bias, head)]


def of_network(net: MLP, head: int | None = None, columns: np.ndarray | None = None) -> list[Slot]:
    """Layer by layer: weight, bias, and scale and offset of a LayerNorm."""
    slots = [] if net.input_norm is None else _permuted(of_norm(net.input_norm, head), columns)
    slots += of_linear(net.layers[0], head, columns)
    if net.residual:
        for norm, up, down in zip(net.norms, net.layers[1:-1:2], net.layers[2:-1:2], strict=True):
            slots += of_norm(norm, head) + of_linear(up, head) + of_linear(down, head)
        return slots + of_linear(net.layers[-1], head)
    for norm, layer in zip(net.norms, net.layers[1:], strict=True):
        slots += (of_norm(norm, head) if isinstance(norm, LayerNorm) else []) + of_linear(layer, head)
    return slots


@dataclass
class _Permuted(Slot):
    """A vector over the inputs of a network, in the released order of those."""

    def read(self) -> np.ndarray:
        ours = self._ours().detach().numpy()
        released = np.empty_like(ours)
        released[self.columns] = ours
        return released

    def write(self, value: np.ndarray) -> None:
        with torch.no_grad():
            self._ours().copy_(torch.from_numpy(value[self.columns]))


def _permuted(slots: list[Slot], columns: np.ndarray | None) -> list[Slot]:
    return slots if columns is None else [_Permuted(slot.parameter, slot.head, columns) for slot in slots]


def of_time(time: TimeEmbedding) -> list[Slot]:
    return [slot for layer in (time.widen, *time.between, time.narrow) for slot in of_linear(layer)]


def of_critic(critic, columns: np.ndarray | None = None) -> list[Slot]:
    """All layers of the first head, then of the next."""
    return [slot for head in range(critic.heads) for slot in of_network(critic.net, head, columns)]


def put(slots: Sequence[Slot], values: Sequence[np.ndarray]) -> None:
    for slot, value in zip(slots, values, strict=True):
        assert slot.read().shape == value.shape, (slot.read().shape, value.shape)
        slot.write(value)


def error(ours, golden) -> float:
    """The largest relative difference of two arrays of numbers."""
    ours, golden = np.asarray(ours, dtype=float), np.asarray(golden, dtype=float)
    if ours.shape != golden.shape:
        raise ValueError(f"shape {ours.shape}, golden {golden.shape}")
    worst = np.max(np.abs(ours - golden) / np.maximum(np.abs(golden), SMALLEST), initial=0.0)
    return float(worst) if np.isfinite(worst) else math.inf


def final_error(slots: Sequence[Slot], golden: dict) -> float:
    """Of 2-norms and first three entries (C order) of each parameter."""
    worst = 0.0
    for slot, (norm, first) in zip(slots, golden.values(), strict=True):
        value = slot.read()
        worst = max(worst, error(np.linalg.norm(value), norm), error(value.ravel()[: len(first)], first))
    return worst
