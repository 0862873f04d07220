"""The mixture of Gaussians: its density, the choice of a component and that choice's gradient."""

from __future__ import annotations

import math

import pytest
import torch
from builders import SMALL, double_rng, generators
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    TanhTransform,
    TransformedDistribution,
)

from core.types import TaskSpec
from policies.mixture import MixtureConfig, straight_through_choice

PLANE = TaskSpec("plane", obs_dim=3, act_dim=2)
WEIGHTS = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)


def build(seeds=(0, 1), spec=PLANE, **options):
    """With a last layer that sets components apart, and narrow enough to leave nothing beyond |u| = 7."""
    policy = MixtureConfig(**options).build(spec, SMALL, generators(seeds)).double()
    with torch.no_grad():
        policy.net.layers[-1].weight *= 3
        policy.net.layers[-1].bias[..., -policy.sizes[-1] :] -= 1
    return policy


@pytest.mark.parametrize("bound", ["tanh", "none"])
@pytest.mark.parametrize("components", [1, 5])
def test_density_integrates_to_one(bound, components):
    policy = build(bound=bound, components=components)
    line = torch.linspace(-12, 12, 401, dtype=torch.float64)
    raw = torch.cartesian_prod(line, line)
    # under tanh the integral over the box is taken in u, where it is smooth: da = (1 - tanh(u)^2) du
    inside = raw.abs().amax(-1) < 7 if bound == "tanh" else torch.ones(len(raw), dtype=torch.bool)
    act, slope = (raw.tanh(), (1 - raw.tanh().square()).prod(-1)) if bound == "tanh" else (raw, 1.0)
    obs = double_rng((0, 1)).normal(1, 3).expand(-1, len(raw), -1)
    density = policy.log_prob(obs, act.expand(2, -1, -1)).exp() * slope * inside
    total = density.sum(-1) * (line[1] - line[0]) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


@pytest.mark.parametrize("bound", ["tanh", "none"])
def test_density_agrees_with_torch_distributions(bound):
    policy = build(bound=bound)
    rng = double_rng((0, 1))
    obs, act = rng.normal(50, 3), 0.95 * rng.normal(50, 2).tanh()
    log_weight, mean, log_std = policy.components(obs)
    theirs = MixtureSameFamily(Categorical(logits=log_weight), Independent(Normal(mean, log_std.exp()), 1))
    if bound == "tanh":
        theirs = TransformedDistribution(theirs, [vector_tanh()])
    torch.testing.assert_close(policy.log_prob(obs, act), theirs.log_prob(act), rtol=1e-9, atol=1e-9)


def vector_tanh():
    return torch.distributions.transforms.IndependentTransform(TanhTransform(), 1)


def fixed(means, log_std=-5.0, seeds=(0,), **options):
    """A policy on one action dimension whose components are given whatever the observation."""
    policy = build(seeds, TaskSpec("line", 3, 1), components=len(means), **options)
    with torch.no_grad():
        policy.net.layers[-1].weight.zero_()
        policy.net.layers[-1].bias[:] = torch.cat(
            [WEIGHTS.log()[: len(means)], torch.tensor(means, dtype=torch.float64), torch.full((len(means),), log_std)]
        )
    return policy


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_components_come_up_with_their_weights_whatever_the_temperature(temperature):
    n = 40_000
    policy = fixed([-3.0, -1.0, 1.0, 3.0], bound="none", temperature=temperature)
    actions = policy.sample(torch.zeros(1, n, 3, dtype=torch.float64), double_rng((0,)))
    shares = torch.histogram(actions.detach().flatten(), bins=4, range=(-4, 4)).hist / n
    tolerance = 4 * (WEIGHTS * (1 - WEIGHTS) / n).sqrt()
    assert ((shares - WEIGHTS).abs() < tolerance).all()


def test_choice_is_one_hot_with_the_softmaxs_derivative():
    rng = double_rng((0, 1))
    logits, uniform = rng.normal(7, 4).requires_grad_(), rng.uniform(7, 4)
    chosen = straight_through_choice(logits, uniform, 0.5)
    assert ((chosen == 0) | (chosen == 1)).all()
    assert (chosen.sum(-1) == 1).all()
    coefficients = rng.normal(7, 4)
    (ours,) = torch.autograd.grad((chosen * coefficients).sum(), logits)
    p = ((logits - (-uniform.log()).log()) / 0.5).softmax(-1).detach()
    expected = p * (coefficients - (p * coefficients).sum(-1, keepdim=True)) / 0.5
    torch.testing.assert_close(ours, expected)


def test_bias_of_the_weights_gradient_is_the_one_known():
    """Two equal weights at temperature 1: softmax is uniform on [0, 1], so E p(1 - p) = 1/6, where w(1 - w) = 1/4."""
    n = 40_000
    logits = torch.zeros(1, n, 2, dtype=torch.float64, requires_grad=True)
    chosen = straight_through_choice(logits, double_rng((0,)).uniform(n, 2), 1.0)
    (gradient,) = torch.autograd.grad(chosen[..., 0].sum(), logits)
    assert gradient[..., 0].mean().item() == pytest.approx(1 / 6, abs=4 * math.sqrt(1 / 180 / n))


def test_the_chosen_component_alone_gets_the_gradient_of_its_mean():
    policy = fixed([-3.0, -1.0, 1.0, 3.0], bound="none")
    obs = torch.zeros(1, 1, 3, dtype=torch.float64)
    for seed in range(10):
        action = policy.sample(obs, double_rng((seed,)))
        (gradient,) = torch.autograd.grad(action.sum(), policy.net.layers[-1].bias)
        chosen = (action.item() + 4) // 2
        assert gradient[0, 4:8].nonzero().flatten().tolist() == [chosen]
        assert gradient[0, 4:8].sum() == 1


def test_mode_is_the_mean_of_the_heaviest_component():
    obs = torch.zeros(1, 2, 3, dtype=torch.float64)
    assert (fixed([0.3, -0.2, 2.0], bound="none").mode(obs) == 0.3).all()
    torch.testing.assert_close(fixed([0.3, -0.2, 2.0]).mode(obs), torch.full((1, 2, 1), math.tanh(0.3)).double())


def test_means_start_apart_for_every_seed_alike_whoever_is_beside_it():
    alone, beside = (MixtureConfig(components=400).build(PLANE, SMALL, generators(seeds)) for seeds in ([3], [1, 3]))
    _, mean, _ = beside.components(torch.zeros(2, 1, PLANE.obs_dim))
    torch.testing.assert_close(mean[1], alone.components(torch.zeros(1, 1, PLANE.obs_dim))[1][0])
    assert mean.abs().max() < 2
    # uniform on [-1, 1] has variance 1/3; what the layer below adds varies little
    assert mean.var().item() == pytest.approx(1 / 3, abs=0.1)
