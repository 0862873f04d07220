"""A whole network (linear, Mish, ..., linear; S replicas) as one differentiable operation.

Layers of a network this small are shorter than the cost of starting them one by one. On the CPU the kernels of
core/native.py run each replica's rows through all of them; on a GPU the products are torch's, and torch.compile makes
one kernel of all that lies between two of them. Wherever neither applies, the same in torch runs: `plain`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd

from core import fusion, native
from core.fusion import fusable, fused
from core.mish import mish, mish_and_slope


def plain(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """The network in torch: x `[*lead, B, in]`, weights `[*lead, in, out]`, biases `[*lead, out]`."""
    for index, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        x = torch.matmul(mish(x) if index else x, weight) + bias[..., None, :]
    return x


def applies(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether `run` can take `x` through a network with these weights, here and now."""
    return kernels_apply(x, weights) or (
        fused() and x.is_cuda and weights[0].is_cuda and weights[0].dtype in native.SCALARS and _outside_functorch()
    )


def kernels_apply(x: Tensor, weights: Sequence[Tensor]) -> bool:
    """Whether the CPU's kernels can run a network with these weights on `x`, here and now."""
    first = weights[0]
    return (
        fused()
        and not torch.is_autocast_enabled(first.device.type)
        and first.device.type == "cpu"
        and first.dtype == x.dtype
        and first.dtype in native.SCALARS
        and 2 <= len(weights) <= native.MAX_DEPTH
        and all(weight.is_contiguous() for weight in weights)
        and _outside_functorch()
    )


def _outside_functorch() -> bool:
    return torch._C._functorch.peek_interpreter_stack() is None


def run(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """`plain`, where `applies` says so."""
    parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
    keep = torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in parameters))
    return (_Compiled if x.is_cuda else _Network).apply(x, keep, *parameters)


class _Network(torch.autograd.Function):
    """By the CPU's kernels."""

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


class _Compiled(torch.autograd.Function):
    """By products of torch's and what torch.compile makes of the rest."""

    @staticmethod
    @custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, x: Tensor, keep: bool, *parameters: Tensor) -> Tensor:
        weights = rounded([_flat(weight) for weight in parameters[::2]])
        inputs = _flat(x)
        out, hidden, slopes = _forward(inputs, weights, [_flat(bias, 1) for bias in parameters[1::2]], keep)
        if keep:
            ctx.save_for_backward(x, *parameters)
            ctx.kept = inputs, weights, hidden, slopes
        return out.view(*x.shape[:-1], out.shape[-1])

    @staticmethod
    @custom_bwd(device_type="cuda")
    def backward(ctx, grad: Tensor):
        x, *parameters = ctx.saved_tensors
        needs_x, _, *needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            return _differentiable(x, parameters, grad, ctx.needs_input_grad)
        of_x, of_parameters = _backward(_flat(grad), *ctx.kept, needs_x, any(needs))
        of_x = None if of_x is None else of_x.view_as(x)
        if not of_parameters:
            return of_x, None, *[None] * len(parameters)
        return of_x, None, *[g.view_as(p) for g, p in zip(of_parameters, parameters, strict=True)]


def _flat(tensor: Tensor, axes: int = 2) -> Tensor:
    """`[*lead, ...]` with one leading axis in all before the last `axes`."""
    return tensor.flatten(0, -axes - 1)


@fusable
def _forward(
    x: Tensor, weights: list[Tensor], biases: list[Tensor], keep: bool
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The network's output for x `[S, B, in]`, and with `keep` each hidden layer and its slope."""
    out, hidden, slopes = through(product(x, weights[0]) + biases[0][:, None], weights[1:], biases[1:])
    if not keep:
        return out, [], []
    return out, [value.to(weight.dtype) for value, weight in zip(hidden, weights[1:], strict=True)], slopes


@fusable
def _backward(
    grad: Tensor,
    x: Tensor,
    weights: list[Tensor],
    hidden: list[Tensor],
    slopes: list[Tensor],
    needs_x: bool,
    needs_parameters: bool,
) -> tuple[Tensor | None, list[Tensor]]:
    """The gradient of x, and those of each layer's weight and bias in turn, where they are needed."""
    of_outputs = back(grad, slopes, weights[1:])
    of_x = product(of_outputs[0], weights[0].mT) if needs_x else None
    if not needs_parameters:
        return of_x, []
    layers = zip([x, *hidden], of_outputs, strict=True)
    pairs = [(torch.bmm(value.mT, of.to(value.dtype)).to(grad.dtype), of.sum(1)) for value, of in layers]
    return of_x, [g for pair in pairs for g in pair]


def through(
    out: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """What the layers after the first make of its output `[S, B, h]`, and each hidden layer and its slope."""
    hidden, slopes = [], []
    for weight, bias in zip(weights, biases, strict=True):
        value, slope = mish_and_slope(out)
        hidden.append(value)
        slopes.append(slope)
        # a bias inside the product would be copied first; outside, the compiler adds it with what follows
        out = product(value, weight) + bias[:, None]
    return out, hidden, slopes


def back(grad: Tensor, slopes: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of each layer's output, from that of the last; slopes and weights as `through` has them."""
    of_outputs = [grad]
    for slope, weight in zip(reversed(slopes), reversed(weights), strict=True):
        of_outputs.insert(0, product(of_outputs[0], weight.mT) * slope)
    return of_outputs


def product(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` `[S, ., .]` with the factors, and so the result, rounded to the dtype of `b`; in the dtype of `a`."""
    return torch.bmm(a.to(b.dtype), b).to(a.dtype)


def rounded(weights: Sequence[Tensor]) -> list[Tensor]:
    """With precision bf16 the weights between hidden layers in bfloat16: the first and the last stay as they are."""
    between = range(1, len(weights) - 1) if fusion.precision() == "bf16" and weights[0].is_cuda else ()
    return [weight.bfloat16() if index in between else weight for index, weight in enumerate(weights)]


def _differentiable(x: Tensor, parameters: Sequence[Tensor], grad: Tensor, needed: tuple[bool, ...]):
    """The backward pass as a graph of its own, for a gradient of a gradient."""
    inputs = [t for t, need in zip([x, *parameters], [needed[0], *needed[2:]], strict=True) if need]
    out = plain(x, parameters[::2], parameters[1::2])
    found = iter(torch.autograd.grad(out, inputs, grad, create_graph=True))
    return tuple(next(found) if need else None for need in needed)
