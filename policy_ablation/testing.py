"""The contract of a policy class, for one of your own: `check_policy(MyConfig)` in any test."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from policy_ablation import _parts

_parts.find()

from core.networks import NetworkConfig  # noqa: E402
from core.rng import SeedRng, seed_generator  # noqa: E402
from core.types import TaskSpec  # noqa: E402
from policies.base import ModalPolicy, Policy, PolicyConfig, TractablePolicy  # noqa: E402

SPEC = TaskSpec("contract", obs_dim=4, act_dim=3)
S, B = 3, 6
SEEDS = (0, 1, 2)


def check_policy(config: type[PolicyConfig] | PolicyConfig, network: NetworkConfig | None = None) -> None:
    """Raise `AssertionError` with a sentence where a policy class breaks the contract of `policies/base.py`.

    `config`: its configuration, or the class of that, with its defaults. What is checked: shapes, finite losses, that
    seeds are independent, randomness that comes from `rng` alone, stated bounds, gradients, a state that is whole.
    """
    made = config() if isinstance(config, type) else config
    network = network or NetworkConfig(hidden=16, depth=2)

    def build(seeds: Sequence[int] = SEEDS) -> Policy:
        return made.build(SPEC, network, [seed_generator(seed, "init") for seed in seeds]).double()

    policy, obs, act = build(), _draw(SPEC.obs_dim), _draw(SPEC.act_dim).tanh()
    _check_shapes(policy, obs, act)
    _check_randomness(policy, obs, act)
    _check_seeds(policy, build, obs, act)
    _check_bounds(policy, obs)
    _check_gradients(policy, obs, act)
    twin = build((7, 8, 9))
    twin.load_state_dict(copy.deepcopy(policy.state_dict()))
    _same(policy.sample(obs, _rng()), twin.sample(obs, _rng()), "the state does not hold all that sampling depends on")


def _rng(seeds: Sequence[int] = SEEDS) -> SeedRng:
    return SeedRng(seeds, "train", dtype=torch.float64)


def _draw(width: int) -> Tensor:
    return SeedRng(SEEDS, "evaluate", dtype=torch.float64).normal(B, width)


def _same(one: Any, other: Any, sentence: str) -> None:
    assert torch.allclose(one, other, rtol=1e-9, atol=1e-12, equal_nan=True), sentence


def _check_shapes(policy: Policy, obs: Tensor, act: Tensor) -> None:
    loss, sample = policy.bc_loss(obs, act, _rng()), policy.sample(obs, _rng())
    assert loss.shape == (S, B), f"bc_loss must be [S, B] = {[S, B]}, got {list(loss.shape)}"
    assert sample.shape == act.shape, f"sample must be [S, B, A] = {list(act.shape)}, got {list(sample.shape)}"
    assert loss.isfinite().all(), "bc_loss is not finite at standard normal observations"
    assert sample.isfinite().all(), "sample is not finite at standard normal observations"
    several = policy.sample_each(obs, 2, _rng())
    assert several.shape == (S, B, 2, SPEC.act_dim), f"sample_each must be [S, B, N, A], got {list(several.shape)}"
    if isinstance(policy, ModalPolicy):
        assert policy.mode(obs).shape == act.shape, "mode must be [S, B, A]"
    if isinstance(policy, TractablePolicy):
        assert policy.log_prob(obs, act).shape == (S, B), "log_prob must be [S, B]"


def _check_randomness(policy: Policy, obs: Tensor, act: Tensor) -> None:
    before = torch.get_rng_state()
    once, loss = policy.sample(obs, _rng()), policy.bc_loss(obs, act, _rng())
    assert torch.equal(before, torch.get_rng_state()), "a global generator was used; draw from rng alone"
    _same(once, policy.sample(obs, _rng()), "two samples of equal rng differ; draw from rng alone")
    _same(loss, policy.bc_loss(obs, act, _rng()), "two losses of equal rng differ; draw from rng alone")


def _check_seeds(policy: Policy, build: Any, obs: Tensor, act: Tensor) -> None:
    alone = build(SEEDS[1:2])
    _same(
        alone.sample(obs[1:2], _rng(SEEDS[1:2])),
        policy.sample(obs, _rng())[1:2],
        "a seed alone samples otherwise than among others; never mix axis 0",
    )
    _same(
        alone.bc_loss(obs[1:2], act[1:2], _rng(SEEDS[1:2])),
        policy.bc_loss(obs, act, _rng())[1:2],
        "a seed alone has another loss than among others; never mix axis 0",
    )


def _check_bounds(policy: Policy, obs: Tensor) -> None:
    if policy.bounded:
        largest = policy.sample(30 * obs, _rng()).abs().max().item()
        assert largest <= 1 + 1e-9, f"bounded is True, and a sample has {largest:.3g}; clip, squash, or state False"


def _check_gradients(policy: Policy, obs: Tensor, act: Tensor) -> None:
    parameters = dict(policy.named_parameters())
    assert parameters, "the policy has no parameters"
    found = torch.autograd.grad(policy.bc_loss(obs, act, _rng()).sum(), list(parameters.values()), allow_unused=True)
    for name, gradient in zip(parameters, found, strict=True):
        if name.split(".")[0] not in policy.improvement_only:
            assert gradient is not None, f"bc_loss does not reach {name}; list its module in improvement_only"
            assert gradient.isfinite().all(), f"the gradient of bc_loss at {name} is not finite"
    if policy.reparameterised:
        passes = policy.sample(obs, _rng()).requires_grad
        assert passes, "reparameterised is True, and no gradient passes through sample; state False"
