"""Optimisation of S replicas at once: every reduction is over one replica only."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from core import native
from core.fusion import fusable, fused

M = TypeVar("M", bound=nn.Module)


def grad_norms(grads: Sequence[Tensor]) -> Tensor:
    """2-norm over all gradients of each replica: tensors `[S, ...]` -> `[S]`."""
    return torch.stack([grad.flatten(1).norm(dim=1) for grad in grads]).norm(dim=0)


def clip_per_replica(grads: Sequence[Tensor], norms: Tensor, max_norm: float) -> list[Tensor]:
    """Gradients scaled so that no replica's norm exceeds `max_norm`, as `clip_grad_norm_` scales one model's."""
    return scaled(grads, (max_norm / (norms + 1e-6)).clamp(max=1.0))


def clip_exactly(grads: Sequence[Tensor], norms: Tensor, max_norm: float) -> list[Tensor]:
    """Gradients of a norm of at least `max_norm` scaled to that norm, as optax's `clip_by_global_norm` does.

    `norms` `[S]`, or `[S, K]` for gradients `[S, K, ...]` of which each head is clipped alone.
    """
    return scaled(grads, torch.where(norms < max_norm, 1.0, max_norm / norms))


def scaled(grads: Sequence[Tensor], scale: Tensor) -> list[Tensor]:
    """Each gradient `[S, ...]` times the number for its replica, `[S]` (or for its head, `[S, K]`)."""
    return [grad * scale.view(*scale.shape, *[1] * (grad.dim() - scale.dim())) for grad in grads]


def head_norms(grads: Sequence[Tensor]) -> Tensor:
    """2-norm over all gradients of each head of each replica: tensors `[S, K, ...]` -> `[S, K]`."""
    return torch.stack([grad.flatten(2).norm(dim=2) for grad in grads]).norm(dim=0)


@fusable
def _adam_step(
    parameters: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    steps: list[Tensor],
    rate: Tensor,
    max_norm: float | None,
    betas: tuple[float, float],
    eps: float,
) -> Tensor:
    """The step as torch's own Adam takes it, with the gradients clipped; returns their norms before, `[S]`.

    Written over lists, of which the compiler makes a few launches: torch's fused Adam leaves a GPU mostly idle over
    networks this small.
    """
    norms = torch.cat([grad.flatten(1) for grad in grads], dim=1).norm(dim=1)
    if max_norm is not None:
        grads = clip_per_replica(grads, norms, max_norm)
    beta1, beta2 = betas
    torch._foreach_add_(steps, 1)
    torch._foreach_lerp_(means, grads, 1 - beta1)
    torch._foreach_mul_(squares, beta2)
    torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
    taken = steps[0].double()
    root, towards = (1 - beta2**taken).sqrt(), rate / (1 - beta1**taken)
    for parameter, mean, square in zip(parameters, means, squares, strict=True):
        parameter.sub_(towards * mean / (square.sqrt() / root + eps))
    return norms


def stepped(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that gradients move; averages beside them take none."""
    return [p for p in module.parameters() if p.requires_grad]


def frozen_copy(module: M) -> M:
    """A copy whose parameters take no gradient: a target network."""
    return copy.deepcopy(module).requires_grad_(False)


class ReplicaAdam(torch.optim.Adam):
    """Adam (Kingma & Ba 2015, algorithm 1) over parameters `[S, ...]`, with each replica's gradient clipped alone.

    With `decay` it is AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): each parameter loses rate * decay of itself.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, decay: float = 0.0):
        parameters = list(parameters)
        # on a GPU a captured step reads the rate where it lies
        on_gpu = parameters[0].is_cuda
        rate = torch.tensor(lr, device=parameters[0].device) if on_gpu else lr
        super().__init__(
            parameters, rate, weight_decay=decay, decoupled_weight_decay=decay > 0, fused=True, capturable=on_gpu
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            first, rate = group["params"][0], float(group["lr"])
            group["capturable"] = first.is_cuda
            group["lr"] = torch.tensor(rate, device=first.device) if first.is_cuda else rate

    def set_rate(self, rate: float) -> None:
        """The learning rate from the next step on; a rate that a captured step reads on its device is set in place."""
        for group in self.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """Of each parameter, for a loss `[S]`; zeros where the loss does not reach one (BCQ's Q-term, say)."""
        return list(torch.autograd.grad(loss.sum(), self._parameters(), materialize_grads=True))

    def descend(self, loss: Tensor, max_norm: float | None) -> Tensor:
        """One step of each replica down its own loss `[S]`; returns the gradients' norms before clipping, `[S]`."""
        return self.apply(self.gradients(loss), max_norm)

    def apply(self, grads: Sequence[Tensor], max_norm: float | None = None) -> Tensor:
        """One step of each replica by gradients `[S, ...]`; returns their norms before clipping, `[S]`."""
        parameters = self._parameters()
        plain = not self.param_groups[0]["weight_decay"]
        if plain and fused() and all(p.dtype in native.SCALARS for p in parameters):
            by = self._by_kernel if parameters[0].device.type == "cpu" else self._compiled
            return by(parameters, grads, max_norm)
        norms = grad_norms(grads)
        if max_norm is not None:
            grads = clip_per_replica(grads, norms, max_norm)
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad
        self.step()
        self.zero_grad(set_to_none=True)
        return norms

    def coast(self) -> None:
        """A step by gradients of zero: Adam counts it, and its momentum moves the parameters."""
        self.apply([torch.zeros_like(p) for p in self._parameters()])

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    @torch.no_grad()
    def _by_kernel(self, parameters: list[Tensor], grads: Sequence[Tensor], max_norm: float | None) -> Tensor:
        means, squares, steps = self._averages(parameters)
        torch._foreach_add_(steps, 1)
        taken, group = steps[0].item(), self.param_groups[0]
        beta1, beta2 = group["betas"]
        rate, root = group["lr"] / (1 - beta1**taken), math.sqrt(1 - beta2**taken)
        norms = grads[0].new_empty(len(grads[0]))
        lists = [parameters, [g.contiguous() for g in grads], means, squares]
        native.adam(lists, norms, max_norm or 0.0, rate, root, beta1, beta2, group["eps"])
        return norms

    @torch.no_grad()
    def _compiled(self, parameters: list[Tensor], grads: Sequence[Tensor], max_norm: float | None) -> Tensor:
        group = self.param_groups[0]
        lists = [parameters, list(grads), *self._averages(parameters)]
        return _adam_step(*lists, group["lr"], max_norm, group["betas"], group["eps"])

    def _averages(self, parameters: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """What torch's own Adam keeps of each parameter: mean, mean square and steps taken."""
        states = [self.state[p] for p in parameters]
        if not states[0]:
            for state, p in zip(states, parameters, strict=True):
                state["step"] = torch.zeros((), dtype=torch.float32, device=p.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(p), torch.zeros_like(p)
        means, squares, steps = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return means, squares, steps
