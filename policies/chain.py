"""A whole sampling chain as one differentiable operation, its gradient written by hand.

Every step of a sampler that is linear in what the network says has the form

    x0 = c0 x + c1 network(x, t, s)         x <- c2 clip(x0) + c3 x + c4 noise

with five numbers for each step. Autograd would record some thirty operations for each and add up the weights'
gradients in tensors of their own; here a step forward and a step back are one compiled function each, what the step
back needs is kept by the step forward, and weight gradients accumulate in place. The values are autograd's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from core import native, network_pass
from core.fusion import fusable, fused
from core.mish import mish, mish_and_slope
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
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """One step: the next x, the prediction of x0 before clipping, and each hidden layer with its slope."""
    hidden, slopes = [], []
    # a bias inside the product would be copied first; outside, the compiler adds it with what follows
    out = torch.bmm(x, weights[0]) + context + at_time[:, None]
    for weight, bias in zip(weights[1:], biases, strict=True):
        value, slope = mish_and_slope(out)
        hidden.append(value)
        slopes.append(slope)
        out = torch.bmm(value, weight) + bias[:, None]
    x0 = c[0] * x + c[1] * out
    return c[2] * x0.clamp(-clip, clip) + c[3] * x + c[4] * noise, x0, hidden, slopes


@fusable
def _backward(
    grad: Tensor,
    x0: Tensor,
    c: Tensor,
    clip: float,
    slopes: list[Tensor],
    weights: list[Tensor],
    of_time: Tensor,
    of_context: Tensor,
    of_biases: list[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """The gradient of the step's x, and of each layer's output; those of the biases and the context are added up."""
    of_x0 = torch.where(x0.abs() <= clip, c[2] * grad, 0)
    of_outputs = [c[1] * of_x0]
    for slope, weight, of_bias in zip(reversed(slopes), reversed(weights), reversed(of_biases), strict=False):
        of_bias.add_(of_outputs[0].sum(1))
        of_outputs.insert(0, torch.bmm(of_outputs[0], weight.mT) * slope)
    of_time.copy_(of_outputs[0].sum(1))
    of_context.add_(of_outputs[0])
    return c[3] * grad + c[0] * of_x0 + torch.bmm(of_outputs[0], weights[0].mT), of_outputs


class _TorchChain(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, noise: Tensor, coefficients: Tensor, clip: float, context: Tensor, at_time: Tensor, *parameters: Tensor
    ) -> Tensor:
        weights, biases = list(parameters[::2]), list(parameters[1::2])
        kept, x = [], noise[:, 0].contiguous()
        for index, c in enumerate(coefficients.unbind()):
            following, x0, hidden, slopes = _forward(
                x, context, at_time[:, index], noise[:, index + 1], c, clip, weights, biases
            )
            kept.append((c, x0, [x, *hidden], slopes))
            x = following
        ctx.kept, ctx.clip, ctx.weights, ctx.shapes = kept, clip, weights, (context, at_time, biases)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        context, at_time, biases = ctx.shapes
        of_weights = [torch.zeros_like(weight) for weight in ctx.weights]
        of_biases = [torch.zeros_like(bias) for bias in biases]
        of_context, of_time = torch.zeros_like(context), torch.empty_like(at_time)
        grad = grad.contiguous()
        for index in reversed(range(len(ctx.kept))):
            c, x0, inputs, slopes = ctx.kept.pop()
            grad, of_outputs = _backward(
                grad, x0, c, ctx.clip, slopes, ctx.weights, of_time[:, index], of_context, of_biases
            )
            for of_weight, value, of_output in zip(of_weights, inputs, of_outputs, strict=True):
                of_weight.baddbmm_(value.mT, of_output)
        of_parameters = [of_weights[0]] + [g for pair in zip(of_biases, of_weights[1:], strict=True) for g in pair]
        return None, None, None, of_context, of_time, *of_parameters


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
    # a chain written by hand would not have its products rounded
    rounded = torch.is_autocast_enabled(net.layers[0].weight.device.type)
    return fused() and net.activation is mish and not rounded


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
    if not network_pass.applies(noise, weights):
        return _TorchChain.apply(noise, coefficients, clip, context, at_time, *parameters)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (context, at_time, *parameters))
    return _Chain.apply(noise, coefficients, clip, context, at_time, keep, *parameters)
