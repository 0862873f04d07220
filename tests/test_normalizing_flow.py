"""Normalizing flow: splines against autograd and their inverse, and a density that is the samples' own."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, TWO_MODES, cloned, double_rng, generators, two_mode_error
from hypothesis import given
from hypothesis import strategies as st

from core.types import TaskSpec
from policies import splines
from policies.normalizing_flow import NormalizingFlowConfig

SEEDS = (0, 1)
PLANE = TaskSpec("plane", obs_dim=3, act_dim=2)


def build(spec=SPEC, scale=6.0, **options):
    """With networks that make more than the identity, the larger the scale."""
    policy = NormalizingFlowConfig(**options).build(spec, SMALL, generators(SEEDS)).double()
    with torch.no_grad():
        for net in policy.nets:
            net.layers[-1].weight *= scale
    return policy


def drawn(pieces, seed, spread):
    g = torch.Generator().manual_seed(seed)
    raw = spread * torch.randn(300, splines.parameters_of(pieces), generator=g, dtype=torch.float64)
    return raw, (2 * torch.rand(300, generator=g, dtype=torch.float64) - 1) * 1.2 * splines.BOUND


class TestSplines:
    @given(st.integers(2, 20), st.integers(0, 9), st.floats(0, 4))
    def test_the_inverse_is_the_inverse(self, pieces, seed, spread):
        raw, x = drawn(pieces, seed, spread)
        y, log_slope = splines.forward(x, raw)
        back, log_back = splines.inverse(y, raw)
        torch.testing.assert_close(back, x, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(log_back, -log_slope, rtol=1e-5, atol=1e-5)

    @given(st.integers(2, 20), st.integers(0, 9), st.floats(0, 4))
    def test_the_slope_is_autograd_s_and_positive(self, pieces, seed, spread):
        raw, x = drawn(pieces, seed, spread)
        leaf = x.requires_grad_()
        y, log_slope = splines.forward(leaf, raw)
        (slope,) = torch.autograd.grad(y.sum(), leaf)
        torch.testing.assert_close(slope.log(), log_slope, rtol=1e-6, atol=1e-6)

    def test_zeros_are_the_identity_and_so_is_all_beyond_the_bound(self):
        raw, x = drawn(6, 0, 2.0)
        for parameters, points in ((torch.zeros_like(raw), x), (raw, x.sign() * (splines.BOUND + x.abs()))):
            y, log_slope = splines.forward(points, parameters)
            torch.testing.assert_close(y, points, rtol=0, atol=1e-12)
            torch.testing.assert_close(log_slope, torch.zeros_like(y), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [TaskSpec("line", 3, 1), PLANE, SPEC], ids=lambda spec: spec.act_dim)
def test_the_density_is_that_of_the_map(spec):
    """log p(a) = log N(z) - log |det da/dz|, the determinant by autograd."""
    policy, rng = build(spec), double_rng(SEEDS)
    obs, z = rng.normal(4, spec.obs_dim), rng.normal(4, spec.act_dim)
    jacobian = torch.autograd.functional.jacobian(lambda noise: policy.transport(obs, noise).sum((0, 1)), z)
    determinant = torch.linalg.slogdet(jacobian.movedim(0, -2)).logabsdet
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1) - determinant
    torch.testing.assert_close(policy.log_prob(obs, policy.transport(obs, z)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layers", [2, 5])
def test_density_integrates_to_one(layers):
    # steeper ones need a finer grid
    policy = build(PLANE, scale=2.0, layers=layers)
    line = torch.linspace(-7, 7, 281, dtype=torch.float64)
    raw = torch.cartesian_prod(line, line)
    obs = double_rng(SEEDS).normal(1, 3).expand(-1, len(raw), -1)
    slope = (1 - raw.tanh().square()).prod(-1)
    with torch.no_grad():
        density = policy.log_prob(obs, raw.tanh().expand(2, -1, -1)).exp() * slope
    total = density.sum(-1) * (line[1] - line[0]) ** 2
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-3)


def test_samples_have_the_density():
    """Shares of samples on either side of a line, against the density's integral over the half."""
    policy, n = build(TaskSpec("line", 3, 1)), 40_000
    obs = double_rng(SEEDS).normal(1, 3)
    with torch.no_grad():
        samples = policy.sample(obs.expand(-1, n, -1), double_rng(SEEDS, "evaluate"))[..., 0]
        grid = torch.linspace(-1, 1, 20_001, dtype=torch.float64)[1:-1]
        density = policy.log_prob(obs.expand(-1, len(grid), -1), grid[:, None].expand(2, -1, -1)).exp()
    for edge in (-0.5, 0.0, 0.5):
        below = torch.trapezoid(density * (grid < edge), grid, dim=-1)
        torch.testing.assert_close((samples < edge).double().mean(-1), below, rtol=0, atol=0.01)


def test_the_mode_is_the_likeliest_of_many_samples_before_the_tanh():
    policy, rng = build(), double_rng(SEEDS)
    obs = rng.normal(6, SPEC.obs_dim)

    def before(act):
        return policy.log_prob(obs, act) + (1 - act.square()).log().sum(-1)

    with torch.no_grad():
        mode = before(policy.mode(obs))
        others = torch.stack([before(policy.sample(obs, rng)) for _ in range(50)])
    assert (others < mode).double().mean() > 0.9


@pytest.mark.slow
def test_recovers_a_density_of_two_modes():
    """Within a quarter of what a Gaussian is off, and nearly the likelihood of the data's own density."""
    policy = cloned(NormalizingFlowConfig(), TWO_MODES, steps=1500)
    distance, share = two_mode_error(policy)
    assert distance < 0.055
    assert share < 0.05
    with torch.no_grad():
        ours = policy.log_prob(torch.zeros(1, len(TWO_MODES), 1), TWO_MODES[None]).mean().item()
    normal = torch.distributions.Normal
    parts = [0.3 * normal(-0.6, 0.1).log_prob(TWO_MODES).exp(), 0.7 * normal(0.5, 0.1).log_prob(TWO_MODES).exp()]
    assert ours > sum(parts).log().mean().item() - 0.1
    assert policy.mode(torch.zeros(1, 1, 1)).item() == pytest.approx(0.5, abs=0.15)
