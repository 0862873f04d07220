"""A whole network (linear, Mish, ..., linear; S replicas) as one differentiable operation on the CPU.

Layers of a network this small are shorter than the cost of starting them one by one: the kernels of core/native.py run
each replica's rows through all of them. Wherever they do not apply, the same in torch runs: `plain`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from core import native
from core.fusion import fused
from core.mish import mish


def plain(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The network in torch: x `[*lead, B, in]`, weights `[*lead, in, out]`, biases `[*lead, out]`."""
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = torch.matmul(mish(x) if index else x, weight) + bias[..., None, :]
    return x


def applies(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether the kernels can run a network with these weights on `x`, here and now."""
    first = weights[0]
    return (
        fused()
        and not torch.is_autocast_enabled(first.device.type)
        and first.device.type == "cpu"
        and first.dtype == x.dtype
        and first.dtype in native.SCALARS
        and 2 <= len(weights) <= native.MAX_DEPTH
        and all(weight.is_contiguous() for weight in weights)
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def run(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """`plain` by the kernels, where they apply."""
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    keep = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))
    return _Network.apply(x, keep, *parameters)


class _Network(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, keep: bool, *parameters: Tensor) -> Tensor:
        lead, weights, biases = parameters[0].shape[:-2], parameters[::2], parameters[1::2]
        # the heads of a critic share their input
        share = lead[-1] if len(lead) > 1 and x.stride(len(lead) - 1) == 0 else 1
        shared = (x.select(len(lead) - 1, 0) if share > 1 else x).contiguous()
        rows, hidden = x.shape[-2], weights[0].shape[-1]
        kept = x.new_empty(len(weights) - 1, *lead, rows, native.padded(hidden, x.dtype)) if keep else None
        out = x.new_empty(*lead, rows, weights[-1].shape[-1])
        native.call("mlp_forward", rows, weights, biases, share, shared, kept, out)
        if keep:
            ctx.save_for_backward(x, shared, kept, *parameters)
            ctx.share = share
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, shared, kept, *parameters = ctx.saved_tensors
        needs_x, _, *needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            return _differentiable(x, parameters, grad, ctx.needs_input_grad)
        weights, biases = parameters[::2], parameters[1::2]
        of_x = torch.empty(x.shape, dtype=x.dtype) if needs_x else None
        of_weights = [torch.empty_like(w) for w in weights] if any(needs) else None
        of_biases = [torch.empty_like(b) for b in biases] if any(needs) else None
        arrays = [None if g is None else native.pointers(g) for g in (of_weights, of_biases)]
        rows = x.shape[-2]
        native.call("mlp_backward", rows, weights, biases, ctx.share, shared, kept, grad.contiguous(), of_x, *arrays)
        if of_weights is None or of_biases is None:
            return of_x, None, *[None] * len(parameters)
        of_parameters = [g for pair in zip(of_weights, of_biases, strict=True) for g in pair]
        return of_x, None, *of_parameters


def _differentiable(x: Tensor, parameters: list[Tensor], grad: Tensor, needed: tuple[bool, ...]):
    """The backward pass as a graph of its own, for a gradient of a gradient."""
    inputs = [t for t, need in zip([x, *parameters], [needed[0], *needed[2:]], strict=True) if need]
    out = plain(x, parameters[::2], parameters[1::2])
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return tuple(next(found) if need else None for need in needed)
