"""Flow matching: the order of its integrator against an exact field, its loss, and a density it must recover."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from builders import SMALL, SPEC, TWO_MODES, cloned, double_rng, generators, two_mode_error

from policies.flow import FlowConfig, euler


@pytest.mark.parametrize(("mean", "std"), [(0.4, 0.1), (-0.2, 0.5), (0.0, 2.0)])
def test_euler_is_of_order_one_on_the_exact_field_of_a_gaussian(mean, std):
    """The path N(t mean, ((1 - t)^2 + t^2 std^2) I) has a linear field, which takes x to mean + std x."""

    def field(x, t):
        variance = (1 - t) ** 2 + (t * std) ** 2
        return mean + ((t * std**2 - (1 - t)) / variance)[..., None] * (x - t[..., None] * mean)

    x = double_rng((0,)).normal(100, 1)
    errors = [(euler(field, x, steps) - (mean + std * x)).square().mean().sqrt().item() for steps in (80, 160, 320)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders == pytest.approx([1, 1], abs=0.15)


def build(**options):
    return FlowConfig(**options).build(SPEC, SMALL, generators((0, 1))).double()


def test_a_sample_is_its_noise_transported():
    policy, obs = build(), double_rng((0, 1)).normal(6, 4)
    noise = double_rng((0, 1), "evaluate").normal(6, 3)
    assert torch.equal(policy.sample(obs, double_rng((0, 1), "evaluate")), policy.transport(obs, noise))
    assert torch.equal(policy.transport(obs, noise), policy.transport(obs, noise))
    by_hand = noise
    for t in (0.0, 0.25, 0.5, 0.75):
        velocity = policy.net(torch.cat([by_hand, torch.full((2, 6, 1), t, dtype=torch.float64), obs], dim=-1))
        by_hand = by_hand + velocity / 4
    policy.steps = 4
    torch.testing.assert_close(policy.transport(obs, noise), by_hand.clamp(-1, 1))


def test_loss_is_the_regression_of_the_velocity_on_the_straight_path():
    policy, rng = build(), double_rng((0, 1))
    obs, act = rng.normal(6, 4), rng.normal(6, 3).tanh()
    again = double_rng((0, 1), "evaluate")
    noise, t = again.normal(6, 3), again.uniform(6)[..., None]
    predicted = policy.net(torch.cat([noise + t * (act - noise), t, obs], dim=-1))
    expected = (predicted - act + noise).square().mean(-1)
    torch.testing.assert_close(policy.bc_loss(obs, act, double_rng((0, 1), "evaluate")), expected)


@pytest.mark.slow
def test_recovers_a_density_of_two_modes():
    """Within a quarter of what a Gaussian is off; 0.047 is measured."""
    distance, share = two_mode_error(cloned(FlowConfig(), TWO_MODES, steps=2500))
    assert distance < 0.055
    assert share < 0.05
