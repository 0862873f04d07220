"""The trust region of DTQL: whose loss it is, what it moves, and where it draws a policy to."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import SMALL, SPEC, SampledPolicy, double_rng, generators, make_batch
from torch import nn

from core.options import OptionError
from policies.diffusion import DiffusionConfig, DiffusionPolicy
from policies.edm import EDMConfig
from policies.flow import FlowConfig
from policies.gaussian import GaussianConfig
from trainers.trust import TrustRegion

SEEDS = (0, 1)


def build(config):
    return config.build(SPEC, SMALL, generators(SEEDS)).double()


class Point(SampledPolicy):
    """One action for all observations of a seed."""

    def __init__(self, act):
        super().__init__()
        self.act = nn.Parameter(act)

    def sample(self, obs, rng):
        return self.act.expand(-1, obs.shape[1], -1)


class OfAGaussian(DiffusionPolicy):
    """Predicts the noise as is exact for actions from N(0.3, 0.5^2) in each dimension."""

    def predict(self, x, time, obs, rng=None):
        alpha, sigma = self.levels[time].split(1, dim=-1)[:2]
        return sigma * (x - alpha * 0.3) / ((alpha * 0.5).square() + sigma.square())


@pytest.mark.parametrize("behaviour", [DiffusionConfig(), EDMConfig(), FlowConfig()])
@pytest.mark.parametrize("cloning", [0.0, 0.7])
def test_it_is_the_behaviours_loss_at_the_policys_action_which_alone_it_moves(behaviour, cloning):
    policy, batch = build(GaussianConfig()), make_batch()
    regularizer = build(TrustRegion(behaviour=behaviour, cloning=cloning))
    value, own, _ = regularizer(policy, batch, double_rng(SEEDS))
    rng = double_rng(SEEDS)
    expected = regularizer.behaviour.bc_loss(batch.obs, policy.sample(batch.obs, rng), rng)
    expected = expected + cloning * policy.bc_loss(batch.obs, batch.act, rng)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(own, regularizer.behaviour.bc_loss(batch.obs, batch.act, rng))
    ours, theirs = list(policy.parameters()), list(regularizer.behaviour.parameters())
    torch.testing.assert_close(*(torch.autograd.grad(v.sum(), ours, retain_graph=True) for v in (value, expected)))
    assert not any(g is not None for g in torch.autograd.grad(value.sum(), theirs, allow_unused=True))
    assert all(g is not None for g in torch.autograd.grad(own.sum(), theirs))


def test_it_draws_an_action_to_the_mode_of_a_gaussian_behaviour():
    """With an exact denoiser the expected gradient at a is 2 mean_t alpha^2 sigma^2 / v^2 (a - mode) / A."""
    behaviour = OfAGaussian(DiffusionConfig(T=10), SPEC, SMALL, generators(SEEDS)).double()
    regularizer = build(TrustRegion(behaviour=DiffusionConfig(T=10)))
    regularizer.behaviour = behaviour
    act = torch.tensor([[[0.9, 0.3, -0.4]], [[0.0, 0.5, 0.3]]]).double()
    batch = dataclasses.replace(
        make_batch(1), obs=torch.zeros(2, 40_000, 4).double(), act=torch.zeros(2, 40_000, 3).double()
    )
    policy = Point(act)
    (gradient,) = torch.autograd.grad(regularizer(policy, batch, double_rng(SEEDS)).value.mean(-1).sum(), policy.act)
    alpha2, sigma2 = behaviour.levels[:, 0].square(), behaviour.levels[:, 1].square()
    slope = 2 * (alpha2 * sigma2 / (alpha2 * 0.25 + sigma2).square()).mean() / 3
    torch.testing.assert_close(gradient, slope * (act - 0.3), rtol=0, atol=0.02)


def test_a_behaviour_that_does_not_denoise_is_refused():
    with pytest.raises(OptionError, match="behaviour must be a policy class that denoises or follows a velocity"):
        TrustRegion(behaviour=GaussianConfig())
    with pytest.raises(OptionError, match="behaviour must be a policy class"):
        build(TrustRegion())
