"""A whole sampling chain as one differentiable operation, its gradient written by hand.

Every step of a sampler that is linear in what the network says has the form

    x0 = c0 x + c1 network(x, t, s)         x <- c2 clip(x0) + c3 x + c4 noise

with five numbers for each step. Autograd would record some thirty operations for each and add up the weights'
gradients in tensors of their own; here a step forward and a step back are one compiled function each, and what the step
back needs is kept by the step forward. The values are autograd's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from core import native, network_pass
from core.fusion import fusable, fused
from core.network_pass import back, through
from core.networks import MLP


@fusable
def _forward(
    x: Tensor,
    context: Tensor,
    at_time: Tensor,
    noise: Tensor,
    c: Tensor,
    clip: float,
    weights: list[Tensor],
    biases: list[Tensor],
    kept: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """One step: the next x, and the prediction of x0 before clipping; `kept` takes hidden layers, then their slopes."""
    out, hidden, slopes = through(torch.bmm(x, weights[0]) + context + at_time[:, None], weights[1:], biases)
    # without a gradient to come nothing is kept
    for into, value in zip(kept, [*hidden, *slopes], strict=False):
        into.copy_(value)
    x0 = c[0] * x + c[1] * out
    return c[2] * x0.clamp(-clip, clip) + c[3] * x + c[4] * noise, x0


@fusable
def _backward(
    grad: Tensor,
    x0: Tensor,
    c: Tensor,
    clip: float,
    slopes: list[Tensor],
    weights: list[Tensor],
    of_outputs: list[Tensor],
) -> Tensor:
    """The gradient of the step's x; `of_outputs` takes that of each layer's output."""
    of_x0 = torch.where(x0.abs() <= clip, c[2] * grad, 0)
    found = back(c[1] * of_x0, slopes, weights[1:])
    for into, of_output in zip(of_outputs, found, strict=True):
        into.copy_(of_output)
    return c[3] * grad + c[0] * of_x0 + torch.bmm(found[0], weights[0].mT)


@fusable
def _summed(of_outputs: list[Tensor], inputs: list[Tensor]) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Gradients of what all steps share, from those of every step's outputs `[S, n, B, .]` and what went in.

    Of the context and of each step's time, and of each layer's weight and bias (the first has none).
    """
    first, *others = of_outputs
    of_weights = [
        torch.bmm(value.flatten(1, 2).mT, of_output.flatten(1, 2)).to(first.dtype)
        for value, of_output in zip(inputs, of_outputs, strict=True)
    ]
    return first.sum(1), first.sum(2), of_weights, [of_output.sum((1, 2), dtype=first.dtype) for of_output in others]


class _TorchChain(torch.autograd.Function):
    """Step by step, with everything between two products compiled on a GPU; weights' gradients by one product each."""

    @staticmethod
    @custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(
        ctx, noise: Tensor, coefficients: Tensor, clip: float, context: Tensor, at_time: Tensor, keep: bool, *parameters
    ) -> Tensor:
        weights, biases = network_pass.rounded(parameters[::2]), list(parameters[1::2])
        seeds, rows, steps = noise.shape[0], noise.shape[2], len(coefficients)
        # each row where a compiled function need not copy it first
        coefficients = torch.nn.functional.pad(coefficients, (0, 3))

        def kept_of_all(width: int, dtype: torch.dtype) -> Tensor:
            return noise.new_empty(seeds, steps, rows, width, dtype=dtype)

        xs: list[Tensor] = []
        clean: list[Tensor] = []
        after = weights[1:] if keep else []
        hidden = [kept_of_all(weight.shape[1], weight.dtype) for weight in after]
        slopes = [kept_of_all(weight.shape[1], noise.dtype) for weight in after]
        x = noise[:, 0].contiguous()
        for index, c in enumerate(coefficients.unbind()):
            xs.append(x)
            at = at_time[:, index], noise[:, index + 1], c
            x, x0 = _forward(x, context, *at, clip, weights, biases, [one[:, index] for one in [*hidden, *slopes]])
            clean.append(x0)
        if keep:
            ctx.save_for_backward(*parameters)
            ctx.kept = torch.stack(xs, 1), clean, hidden, slopes
            ctx.given = coefficients, clip
        return x

    @staticmethod
    @custom_bwd(device_type="cuda")
    @once_differentiable
    def backward(ctx, grad: Tensor):
        weights = network_pass.rounded(ctx.saved_tensors[::2])
        xs, clean, hidden, slopes = ctx.kept
        coefficients, clip = ctx.given
        # the node may outlive its use
        del ctx.kept
        # where a product's factors are rounded, its weight's gradient is of them as rounded
        of_outputs = [xs.new_empty(*xs.shape[:3], weight.shape[2], dtype=weight.dtype) for weight in weights]
        grad = grad.contiguous()
        for index in reversed(range(len(clean))):
            into = [one[:, index] for one in of_outputs]
            given = coefficients[index], clip, [one[:, index] for one in slopes], weights
            grad = _backward(grad, clean[index], *given, into)
        of_context, of_time, of_weights, of_biases = _summed(of_outputs, [xs, *hidden])
        of_parameters = [of_weights[0]] + [g for pair in zip(of_biases, of_weights[1:], strict=True) for g in pair]
        return None, None, None, of_context, of_time, None, *of_parameters


class _Chain(torch.autograd.Function):
    """The same by the kernels."""

    @staticmethod
    def forward(
        ctx, noise: Tensor, coefficients: Tensor, clip: float, context: Tensor, at_time: Tensor, keep: bool, *parameters
    ) -> Tensor:
        weights, biases = list(parameters[::2]), list(parameters[1::2])
        seeds, rows, act = noise.shape[0], *noise.shape[2:]
        steps, hidden = at_time.shape[1:]
        width = native.padded(hidden, noise.dtype)
        kept = noise.new_empty(len(biases), seeds, steps, rows, width) if keep else None
        states = noise.new_empty(seeds, steps, rows, 2, act) if keep else None
        x = noise.new_empty(seeds, rows, act)
        # the first layer's bias is in the context
        all_biases = [context, *biases]
        passed = [t.contiguous() for t in (coefficients, noise, context, at_time)]
        native.call("chain_forward", rows, weights, all_biases, steps, clip, *passed, kept, states, x)
        if keep:
            ctx.save_for_backward(passed[0], kept, states, *parameters)
            ctx.clip = clip
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        coefficients, kept, states, *parameters = ctx.saved_tensors
        weights = list(parameters[::2])
        seeds, steps, rows, _, _ = states.shape
        hidden = weights[0].shape[-1]
        of_context, of_time = grad.new_empty(seeds, rows, hidden), grad.new_empty(seeds, steps, hidden)
        of_weights = [torch.empty_like(weight) for weight in weights]
        of_biases = [torch.empty(seeds, weight.shape[-1], dtype=grad.dtype) for weight in weights]
        arrays = native.pointers(of_weights), native.pointers(of_biases)
        given = (steps, ctx.clip, coefficients, kept, states, grad.contiguous(), of_context, of_time, *arrays)
        native.call("chain_backward", rows, weights, of_biases, *given)
        pairs = zip(of_biases[1:], of_weights[1:], strict=True)
        return None, None, None, of_context, of_time, None, of_weights[0], *[g for pair in pairs for g in pair]


def covers(net: MLP) -> bool:
    """Whether `run_through` serves this network, here and now."""
    # on the CPU without its kernels a chain written by hand would not have its products rounded
    weight = net.layers[0].weight
    return fused() and net.plain and (weight.is_cuda or not torch.is_autocast_enabled(weight.device.type))


def asked_for_slope(noise: Tensor) -> bool:
    """Whether a gradient in the noise is asked for, which chains as one operation have not."""
    return noise.requires_grad and torch.is_grad_enabled()


def run_through(
    net: MLP, of_x: Tensor, context: Tensor, at_time: Tensor, noise: Tensor, coefficients: Tensor, clip: float
) -> Tensor:
    """`run_chain` with the layers of `net` after its first, of which `of_x` `[S, A, h]` is the part for x.

    Noise may be `[S, 1, B, A]` where the coefficients have none after the first.
    """
    layers = net.layers[1:]
    weights = [of_x, *(layer.weight for layer in layers)]
    noise = noise.expand(-1, len(coefficients) + 1, -1, -1)
    return run_chain(noise, coefficients, clip, context, at_time, weights, [layer.bias for layer in layers])


def run_chain(
    noise: Tensor,
    coefficients: Tensor,
    clip: float,
    context: Tensor,
    at_time: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    """n steps from `noise[:, 0]`: noise `[S, n + 1, B, A]`, coefficients `[n, 5]`, `clip` may be infinite.

    The network is `weights[0]` on x, added to `context` `[S, B, h]` and `at_time` `[S, n, h]` (in the order of the
    steps), then Mish and a linear layer for each of `weights[1:]` and `biases`. Returns x `[S, B, A]`.
    """
    parameters = [weights[0]] + [p for pair in zip(biases, weights[1:], strict=True) for p in pair]
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (context, at_time, *parameters))
    chain = _Chain if network_pass.kernels_apply(noise, weights) else _TorchChain
    return chain.apply(noise, coefficients, clip, context, at_time, keep, *parameters)
