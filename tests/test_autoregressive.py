"""Autoregressive bins: a density that integrates to one and is the samples' own, and dependence of dimensions."""

from __future__ import annotations

import itertools

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_trainer

from core.options import OptionError
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from policies.autoregressive import AutoregressiveConfig
from trainers import REGULARIZERS, TrainerConfig
from trainers.trainer import Trainer

SEEDS = (0, 1)
PLANE = TaskSpec("plane", obs_dim=3, act_dim=2)


def build(spec=PLANE, **options):
    """With a network whose bins are far from even."""
    policy = AutoregressiveConfig(**options).build(spec, SMALL, generators(SEEDS)).double()
    with torch.no_grad():
        policy.net.layers[-1].weight *= 5
    return policy


def centres(bins):
    line = (torch.arange(bins).double() + 0.5) / bins * 2 - 1
    return torch.cartesian_prod(line, line)


@pytest.mark.parametrize("factorised", [False, True])
@pytest.mark.parametrize("bins", [2, 7])
def test_density_integrates_to_one(bins, factorised):
    """Over points of a grid within each bin of the first dimension, on whose place the second depends."""
    policy, fine = build(bins=bins, factorised=factorised), 50
    points = centres(bins * fine)
    obs = double_rng(SEEDS).normal(1, 3).expand(-1, len(points), -1)
    total = policy.log_prob(obs, points.expand(2, -1, -1)).exp().sum(-1) * (2 / (bins * fine)) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-12)


@pytest.mark.parametrize("factorised", [False, True])
def test_samples_have_the_density(factorised):
    policy, bins, n = build(bins=4, factorised=factorised), 4, 40_000
    obs = double_rng(SEEDS).normal(1, 3)
    samples = policy.sample(obs.expand(-1, n, -1), double_rng(SEEDS, "evaluate"))
    points, fine = centres(bins * 25), 25
    density = (
        policy.log_prob(obs.expand(-1, len(points), -1), points.expand(2, -1, -1)).exp() * (2 / (bins * fine)) ** 2
    )

    def cell(act):
        index = ((act + 1) / 2 * bins).long().clamp(0, bins - 1)
        return index[..., 0] * bins + index[..., 1]

    for seed in range(2):
        found = torch.bincount(cell(samples[seed]), minlength=bins**2) / n
        expected = torch.zeros(bins**2).double().index_add_(0, cell(points), density[seed])
        assert (found - expected).abs().max() < 0.01


def test_no_dimension_sees_one_after_it():
    policy, rng = build(SPEC), double_rng(SEEDS)
    obs, act = rng.normal(6, 4), rng.normal(6, 3).tanh()
    for i, j in itertools.product(range(3), range(3)):
        changed = act.clone()
        changed[..., j] = -changed[..., j]
        dimension = torch.full((6,), i)
        same = torch.equal(policy.log_shares(obs, act, dimension), policy.log_shares(obs, changed, dimension))
        assert same == (j >= i)


@pytest.mark.parametrize(("factorised", "right"), [(False, 0.97), (True, 0.5)])
def test_parity_needs_the_dimensions_before(factorised, right):
    """Signs of three dimensions whose product is 1: every marginal, and every pair, is even."""
    g = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (4000, 2), generator=g) * 2.0 - 1
    act = torch.cat([signs, signs.prod(-1, keepdim=True)], dim=-1) * 0.6 + 0.05 * torch.randn(4000, 3, generator=g)
    zeros = torch.zeros(4000, 1)
    parts = make_trainer(AutoregressiveConfig(bins=11, factorised=factorised), (0,), "none").parts
    trainer = Trainer(parts, TrainerConfig(batch=128, lr=1e-2), TaskSpec("parity", 1, 3), (0,))
    trainer.train(Transitions(zeros, act, zeros[:, 0], zeros, zeros[:, 0]), 300, SeedRng((0,), "train"))
    samples = trainer.policy.sample(torch.zeros(1, 2000, 1), SeedRng((0,), "evaluate"))
    share = (samples.prod(-1) > 0).float().mean().item()
    assert share > right if not factorised else share == pytest.approx(right, abs=0.05)


def test_the_mode_is_the_likeliest_bin_in_turn():
    policy, obs = build(SPEC), double_rng(SEEDS).normal(6, 4)
    mode = policy.mode(obs)
    shares = policy.log_shares(obs, mode, torch.full((6,), 2))
    assert torch.equal(((mode[..., 2] + 1) / 2 * 51).long(), shares.argmax(-1))


def test_a_density_without_a_slope_is_no_behaviour_model():
    with pytest.raises(OptionError, match="behaviour"):
        REGULARIZERS["kl"](behaviour=AutoregressiveConfig())
