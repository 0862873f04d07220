"""A step of several learners by their gradients, clipped as the trainer is told."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainers.optim import ReplicaAdam, clip_exactly, clip_per_replica, grad_norms, head_norms
from trainers.settings import TrainerConfig

#: learner -> what the record calls the norm of its gradient
NAMES = {"critic": "critic_grad_norm", "policy": "actor_grad_norm"}


def descend(
    optimizers: Mapping[str, ReplicaAdam], gradients: Mapping[str, list[Tensor]], config: TrainerConfig
) -> dict[str, Tensor]:
    """One step of each learner; returns the norms `[S]` before clipping, over all of them where that is clipped."""
    joint = None
    if config.clip_over == "all" and gradients:
        joint = grad_norms([gradient for of_learner in gradients.values() for gradient in of_learner])
    norms = {name: _step(optimizers[name], name, grads, joint, config) for name, grads in gradients.items()}
    return {NAMES[name]: norm for name, norm in norms.items() if name in NAMES}


def _step(
    optimizer: ReplicaAdam, name: str, grads: list[Tensor], joint: Tensor | None, config: TrainerConfig
) -> Tensor:
    by_head = name == "critic" and config.clip_over == "head"
    exactly = config.clip_rule == "optax"
    if config.grad_norm is None or not (by_head or exactly or joint is not None):
        norms = optimizer.apply(grads, config.grad_norm)
        return norms if joint is None else joint
    norms = grad_norms(grads) if joint is None else joint
    clip = clip_exactly if exactly else clip_per_replica
    optimizer.apply(clip(grads, head_norms(grads) if by_head else norms, config.grad_norm))
    return norms
