"""Small real trainers for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from ablations.plan.parts import build_part
from core.networks import NetworkConfig
from core.rng import SeedRng, seed_generator
from core.types import TaskSpec, Transitions
from critics import BACKUPS, CriticConfig
from policies import POLICIES, Policy, PolicyConfig
from policies.steps import StepPolicy
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Due, Parts, Trainer

SPEC = TaskSpec("test", obs_dim=4, act_dim=3)
SMALL = NetworkConfig(hidden=16, depth=2)
#: a step of the policy and of what its regularizer owns, and of nothing else
POLICY_ALONE = Due(critic=False, policy=True, target_policy=0.0, target_critic=False)

#: the policy class that an improvement is for, where it is for one
POLICY_OF = {"adjoint": "flow", "latent-q": "steered"}


class SampledPolicy(Policy):
    """A stand-in that says how it is sampled and nothing else."""

    def bc_loss(self, obs, act, rng):
        raise NotImplementedError


def small_config(name: str) -> PolicyConfig:
    """The named policy class at a size for tests."""
    sizes = {
        "diffusion": {"T": 5},
        "energy": {"negatives": 16, "candidates": 128},
    }
    return POLICIES[name](**sizes.get(name, {}))


def make_trainer(
    policy: PolicyConfig, seeds, improvement="q-max", dtype=torch.float64, device="cpu", **settings
) -> Trainer:
    """A trainer of the given policy with Diffusion-QL's other parts, batch 8."""
    parts = Parts(
        policy=policy,
        regularizer=REGULARIZERS["bc"](),
        improvement=build_part("improvement", IMPROVEMENTS[improvement], {}, {}, {}),
        backup=BACKUPS["clipped-double-q"](),
        critic=CriticConfig(),
        network=SMALL,
    )
    config = TrainerConfig(**{"batch": 8, "grad_norm": 5.0, "ema_start": 2, "ema_every": 2, **settings})
    return Trainer(parts, config, SPEC, seeds, device=device, dtype=dtype)


def make_dataset(size: int = 200, dtype=torch.float64) -> Transitions:
    """Random transitions, some of them terminal."""
    g = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=dtype)

    discount = 0.99 * (torch.rand(size, generator=g) > 0.1).to(dtype)
    return Transitions(normal(size, 4), normal(size, 3).tanh(), normal(size), normal(size, 4), discount)


def make_batch(size: int = 5) -> Transitions:
    """Different transitions of that dataset for each of two seeds, `[2, B, ...]`."""
    return make_dataset()[torch.arange(2 * size).view(2, size)]


def generators(seeds) -> list[torch.Generator]:
    """What initial weights are drawn from, one for each seed."""
    return [seed_generator(seed, "init") for seed in seeds]


def improvement_of(name: str) -> str:
    """What couples the named policy class with Q where its samples pass gradients, else cloning alone."""
    return "q-max" if POLICIES[name].builds.reparameterised else "none"


def relative_error(a: torch.Tensor, b: torch.Tensor) -> float:
    """|a - b| / |b|, 2-norms over all entries."""
    return ((a - b).norm() / b.norm()).item()


def double_rng(seeds, stream="train", device="cpu") -> SeedRng:
    return SeedRng(seeds, stream, device, torch.float64)


def _two_modes(size: int = 20_000) -> torch.Tensor:
    """0.3 N(-0.6, 0.1^2) + 0.7 N(0.5, 0.1^2), `[n, 1]`."""
    g = torch.Generator().manual_seed(0)
    left = torch.rand(size, 1, generator=g) < 0.3
    return torch.where(left, -0.6, 0.5) + 0.1 * torch.randn(size, 1, generator=g)


TWO_MODES = _two_modes()


def cloned(config: PolicyConfig, act: torch.Tensor, steps: int) -> Policy:
    """A policy of actions `[n, 1]` alone, after a few seconds of behaviour cloning on one core; the seed is 0."""
    parts = dataclasses.replace(
        make_trainer(config, (0,)).parts, improvement=IMPROVEMENTS["none"](), network=NetworkConfig(hidden=64, depth=2)
    )
    zeros = torch.zeros(len(act), 1)
    data = Transitions(zeros, act, zeros[:, 0], zeros, zeros[:, 0])
    trainer = Trainer(parts, TrainerConfig(batch=256, lr=3e-3), TaskSpec("line", 1, 1), (0,))
    rng = SeedRng((0,), "train")
    trainer.train(data, steps * 2 // 3, rng)
    trainer.optimizers["policy"].param_groups[0]["lr"] = 3e-4
    trainer.train(data, steps // 3, rng)
    return trainer.policy


def transported(policy: StepPolicy, numbers: Sequence[int]) -> dict[int, Tensor]:
    """Where the same 4,000 draws of noise go in these numbers of steps, `[1, 4000, 1]` each; one observation entry."""
    noise, obs = SeedRng((0,), "evaluate").normal(4000, 1), torch.zeros(1, 4000, 1)
    actions = {}
    with torch.no_grad():
        for steps in numbers:
            policy.steps = steps
            actions[steps] = policy.transport(obs, noise)
    return actions


def two_mode_error(policy: Policy) -> tuple[float, float]:
    """Wasserstein-1 distance of 20,000 samples to TWO_MODES (0.005 is their noise), and error of the left mode's share.

    The Gaussian of the same mean and deviation, the best that a policy with one mode can be, has distance 0.22.
    """
    with torch.no_grad():
        samples = policy.sample(torch.zeros(1, len(TWO_MODES), 1), SeedRng((0,), "evaluate")).flatten()
    data = TWO_MODES.flatten()
    distance = (samples.sort().values - data.sort().values).abs().mean().item()
    return distance, abs(((samples < -0.05).float().mean() - (data < -0.05).float().mean()).item())
