"""Small real trainers for tests."""

from __future__ import annotations

import torch

from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from critics import BACKUPS, CriticConfig
from policies import POLICIES, PolicyConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts, Trainer

SPEC = TaskSpec("test", obs_dim=4, act_dim=3)
SMALL = NetworkConfig(hidden=16, depth=2)


def small_config(name: str) -> PolicyConfig:
    """The named policy class at a size for tests."""
    return POLICIES[name](T=5) if name == "diffusion" else POLICIES[name]()


def make_trainer(policy: PolicyConfig, seeds, improvement="q-max", dtype=torch.float64, **settings) -> Trainer:
    """A trainer of the given policy with Diffusion-QL's other parts, batch 8."""
    parts = Parts(
        policy=policy,
        regularizer=REGULARIZERS["bc"](),
        improvement=IMPROVEMENTS[improvement](),
        backup=BACKUPS["clipped-double-q"](),
        critic=CriticConfig(),
        network=SMALL,
    )
    config = TrainerConfig(**{"batch": 8, "grad_norm": 5.0, "ema_start": 2, "ema_every": 2, **settings})
    return Trainer(parts, config, SPEC, seeds, dtype=dtype)


def make_dataset(size: int = 200, dtype=torch.float64) -> Transitions:
    """Random transitions, some of them terminal."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    discount = 0.99 * (torch.rand(size, generator=g) > 0.1).to(dtype)
    return Transitions(normal(size, 4), normal(size, 3).tanh(), normal(size), normal(size, 4), discount)


def double_rng(seeds, stream="train") -> SeedRng:
    return SeedRng(seeds, stream, dtype=torch.float64)
