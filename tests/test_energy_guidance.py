"""Contrastive energies and the sampling they guide: exact for a Gaussian behaviour and a quadratic Q."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import SMALL, SPEC, SampledPolicy, double_rng, generators, make_batch
from torch import nn

from core.types import TaskSpec, Transitions
from critics import Critics
from policies.base import DenoisingPolicy
from policies.diffusion import DiffusionConfig
from policies.edm import EDMConfig
from policies.sde import SDEConfig, levels_at
from trainers.energy import EnergyGuidance
from trainers.selection import EnergyGuided

SEEDS = (0, 1)
#: behaviour N(MEAN, DEVIATION^2); beta Q = -(a - CENTRE)^2 / (2 WIDTH^2)
MEAN, DEVIATION, CENTRE, WIDTH = 0.1, 0.5, 0.6, 0.4
PRECISION = DEVIATION**-2 + WIDTH**-2
TILTED_MEAN = (MEAN * DEVIATION**-2 + CENTRE * WIDTH**-2) / PRECISION


def posterior(alpha, sigma):
    """Of the clean action given x: (slope in x, value at x = 0, variance)."""
    total = (alpha * DEVIATION) ** 2 + sigma**2
    return alpha * DEVIATION**2 / total, sigma**2 * MEAN / total, (DEVIATION * sigma) ** 2 / total


def exact_slope(x, alpha, sigma):
    """Of E(x) = log E[exp(beta Q(a)) | x], in x."""
    slope, at_zero, variance = posterior(alpha, sigma)
    return -slope * (slope * x + at_zero - CENTRE) / (WIDTH**2 + variance)


def exact(config):
    """A policy of one dimension with an exact denoiser."""
    policy = config.build(TaskSpec("line", 1, 1), SMALL, generators((0,))).double()
    if isinstance(config, DiffusionConfig):
        levels = policy.levels.tolist()

        def noise(x, t):
            alpha, sigma = levels[max(int(t), 0)][:2]
            slope, at_zero, _ = posterior(alpha, sigma)
            return (x - alpha * (slope * x + at_zero)) / sigma

        policy.denoiser = lambda obs: noise
    elif isinstance(config, EDMConfig):
        policy._denoiser = lambda obs: lambda x, sigma: (DEVIATION**2 * x + sigma**2 * MEAN) / (DEVIATION**2 + sigma**2)
    else:

        def noise_at(x, t):
            alpha, sigma = levels_at(t)
            slope, at_zero, _ = posterior(alpha, sigma)
            return (x - alpha * (slope * x + at_zero)) / sigma

        policy._denoiser = lambda obs: noise_at
    return policy


FREE = {"clip": False, "clip_action": False}
SAMPLERS = {
    "ddpm": DiffusionConfig(T=200, **FREE),
    "dpm++2m": DiffusionConfig(T=200, sampler="dpm++2m", sample_steps=100, **FREE),
    "edm": EDMConfig(sample_steps=80, **FREE),
    "sde": SDEConfig(sample_steps=60, **FREE),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_guided_samples_have_the_tilted_gaussians_mean_and_deviation(name):
    policy, obs = exact(SAMPLERS[name]), torch.zeros(1, 8000, 1).double()
    with torch.no_grad():
        plain = policy.tilted_sample(obs, double_rng((0,)), lambda x, alpha, sigma: torch.zeros_like(x))
        guided = policy.tilted_sample(obs, double_rng((0,)), exact_slope)
    assert plain.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert plain.std().item() == pytest.approx(DEVIATION, rel=0.04)
    assert guided.mean().item() == pytest.approx(TILTED_MEAN, abs=0.02)
    # DDPM's variance is the posterior's of a known action, a little less than a Gaussian's
    assert guided.std().item() == pytest.approx(PRECISION**-0.5, rel=0.06 if name == "ddpm" else 0.04)


class Behaviour(SampledPolicy, DenoisingPolicy):
    """Samples of the Gaussian, noised at one level."""

    level = (0.7, 0.6)

    def sample(self, obs, rng):
        return MEAN + DEVIATION * rng.normal(obs.shape[1], 1)

    def levels_drawn(self, size, rng):
        return tuple(torch.full((1, size, 1), level).double() for level in self.level)

    def predict_clean(self, obs, act, rng):
        raise NotImplementedError

    def guided_sample(self, obs, rng, gradient, scale, through_denoiser=False):
        raise NotImplementedError


class Q(nn.Module):
    """Two heads, the smaller of which is the quadratic over beta = 2."""

    def forward(self, obs, act):
        value = -(act - CENTRE).square().sum(-1) / (2 * WIDTH**2) / 2
        return torch.stack([value + 1, value], dim=1)


class Polynomial(nn.Module):
    """f(x) = b x + c x^2."""

    def __init__(self, b, c):
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor([b, c]).double())

    def forward(self, obs, x, alpha, sigma):
        b, c = self.coefficients
        return b * x[..., 0] + c * x[..., 0].square()


def test_the_contrastive_loss_is_least_at_the_exact_energy():
    slope, at_zero, variance = posterior(*Behaviour.level)
    curvature = -(slope**2) / (WIDTH**2 + variance)
    linear = -slope * (at_zero - CENTRE) / (WIDTH**2 + variance)
    improver = EnergyGuidance(beta=2.0, samples=8).build(SPEC, SMALL, generators((0,)))
    zeros = torch.zeros(1, 30_000, 1).double()
    batch = Transitions(zeros, zeros, zeros[..., 0], zeros, zeros[..., 0])
    losses = {}
    for name, coefficients in {
        "exact": (linear, curvature / 2),
        "steeper": (linear + 0.3, curvature / 2),
        "flat": (linear, 0.0),
    }.items():
        improver.net = Polynomial(*coefficients)
        own = improver(Behaviour(), Critics(nn.Identity(), Q()), batch, double_rng((0,))).own
        losses[name] = own.mean()
        (gradient,) = torch.autograd.grad(own.mean(), improver.net.coefficients)
        if name == "exact":
            assert gradient.abs().max() < 0.01
    assert losses["exact"] < losses["steeper"]
    assert losses["exact"] < losses["flat"]


@pytest.mark.parametrize("config", [DiffusionConfig(**FREE), EDMConfig(**FREE), SDEConfig(**FREE)])
def test_selection_adds_the_networks_slope_and_scale_0_is_the_policys_own_sample(config):
    policy = config.build(SPEC, SMALL, generators(SEEDS)).double()
    improver = EnergyGuidance().build(SPEC, SMALL, generators(SEEDS)).double()
    critics, obs = Critics(nn.Identity(), nn.Identity(), None, improver.energy), make_batch().obs
    with torch.no_grad():
        of_scale = {s: EnergyGuided(scale=s)(policy, critics, obs, double_rng(SEEDS)) for s in (0.0, 1.0, 2.0)}
        plain = policy.sample(obs, double_rng(SEEDS))

    def slope(x, alpha, sigma):
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            told = [torch.full((*x.shape[:2], 1), level).double() for level in (alpha, sigma)]
            return 2.0 * torch.autograd.grad(improver.net(obs, leaf, *told).sum(), leaf)[0]

    torch.testing.assert_close(of_scale[0.0], plain)
    assert not torch.allclose(of_scale[1.0], of_scale[2.0])
    with torch.no_grad():
        torch.testing.assert_close(of_scale[2.0], policy.tilted_sample(obs, double_rng(SEEDS), slope))


def test_the_loss_is_its_definition_with_one_level_for_all_actions_of_a_state():
    policy = DiffusionConfig(T=5).build(SPEC, SMALL, generators(SEEDS)).double()
    improver = EnergyGuidance(beta=1.5, samples=3).build(SPEC, SMALL, generators(SEEDS)).double()
    batch = make_batch()

    class Sum(nn.Module):
        def forward(self, obs, act):
            return torch.stack([act.sum(-1), act.sum(-1) + 1], dim=1)

    own = improver(policy, Critics(nn.Identity(), Sum()), batch, double_rng(SEEDS)).own
    rng = double_rng(SEEDS)
    with torch.no_grad():
        actions = policy.sample_each(batch.obs, 3, rng)
    alpha, sigma = policy.levels_drawn(5, rng)
    noise = rng.normal(15, SPEC.act_dim).unflatten(1, (5, 3))
    found = torch.stack(
        [improver.net(batch.obs, alpha * actions[:, :, i] + sigma * noise[:, :, i], alpha, sigma) for i in range(3)], -1
    )
    label = (1.5 * actions.sum(-1)).softmax(-1)
    torch.testing.assert_close(own, -(label * found.log_softmax(-1)).sum(-1))


def test_the_policy_is_cloned_as_without():
    terms = (
        EnergyGuidance()
        .build(SPEC, SMALL, generators(SEEDS))
        .double()(
            DiffusionConfig().build(SPEC, SMALL, generators(SEEDS)).double(),
            Critics(nn.Identity(), lambda obs, act: act.sum(-1)[:, None]),
            dataclasses.replace(make_batch()),
            double_rng(SEEDS),
        )
    )
    assert torch.equal(terms.weight, torch.ones(2, 5).double())
    assert torch.equal(terms.bonus, torch.zeros(2, 5).double())
