"""What S replicas of a run hold in memory while they train, from one step of a single one.

Every replica has its parameters, their gradients, Adam's two averages, the target networks, a batch, and what the
forward passes keep for the backward ones (the layers of every step of a sampling chain, most of all).
"""

from __future__ import annotations

import gc

import torch
from torch import Tensor, nn

from ablations.plan.config import RunConfig
from core import fusion
from core.memory import free_bytes
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from trainers.trainer import Trainer

#: share of the free memory that training may take; the rest is for evaluation, and for others
SHARE = 0.8
#: parameter, gradient, and Adam's mean and square
COPIES = 4
#: recorded kinds of step of a common run on a GPU, each with memory of its own (trainers/captured.py)
GRAPHS = 3
CPU = torch.device("cpu")


def of_one_seed(run: RunConfig, spec: TaskSpec, device: torch.device = CPU) -> int:
    """Bytes that one replica needs on `device`, by taking one step of it on the CPU."""
    if device.type != "cuda":
        return sum(_one_step(run, spec))
    # a GPU's compiled passes keep about what the plain ones do; the CPU's kernels keep less
    with fusion.unfused():
        fixed, kept = _one_step(run, spec)
    return fixed + GRAPHS * kept


def _one_step(run: RunConfig, spec: TaskSpec) -> tuple[int, int]:
    """Bytes of parameters and what goes with them, and of what a step keeps for its backward passes."""
    trainer = Trainer(run.parts, run.trainer, spec, run.seeds[:1], needs_critic=run.needs_critic)
    targets = [part for part in (trainer.target_policy, trainer.target_critic) if part is not None]
    fixed = COPIES * sum(map(_bytes, trainer.learners().values())) + sum(map(_bytes, targets))
    batch = _batch(run.trainer.batch, spec)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        trainer.update(batch, SeedRng(run.seeds[:1], "train"))
    return fixed, sum(kept.values())


def _bytes(module: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in module.parameters())


def _batch(size: int, spec: TaskSpec) -> Transitions:
    obs, act, scalar = torch.zeros(1, size, spec.obs_dim), torch.zeros(1, size, spec.act_dim), torch.zeros(1, size)
    return Transitions(obs, act, scalar, obs, scalar, act)


def free(device: torch.device) -> int:
    """Bytes that can still be had on the device."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return free_bytes()


def fitting(each: int, device: torch.device) -> int:
    """How many replicas of `each` bytes fit, at least one."""
    return max(1, int(SHARE * free(device)) // each)


def release(device: torch.device) -> None:
    """Give a GPU's memory back after a run: its trainer and recorded steps refer to each other."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
