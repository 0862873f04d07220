"""Shortcut policy: its loss written out, a fixed point that is a flow's own map, and few steps against many."""

from __future__ import annotations

import math

import pytest
import torch
from builders import SMALL, SPEC, TWO_MODES, cloned, double_rng, generators, transported, two_mode_error

from core.options import OptionError
from policies.shortcut import ShortcutConfig

SEEDS = (0, 1)


def build(**options):
    return ShortcutConfig(**options).build(SPEC, SMALL, generators(SEEDS)).double()


def test_the_loss_is_its_definition_and_no_gradient_reaches_the_two_steps():
    policy, rng = build(finest=16, consistency=0.7), double_rng(SEEDS)
    obs, act = rng.normal(40, 4), rng.normal(40, 3).tanh()
    draws = double_rng(SEEDS, "evaluate")
    z, t = draws.normal(40, 3), draws.uniform(40)
    level, u, z2 = draws.integers(4, 40), draws.uniform(40), draws.normal(40, 3)

    def v(x, t, d):
        return policy.net(torch.cat([x, t[..., None], d[..., None], obs], dim=-1))

    x = (1 - t)[..., None] * z + t[..., None] * act
    expected = (v(x, t, 0 * t) - act + z).square().mean(-1)
    two_d = torch.tensor([1 / 8, 1 / 4, 1 / 2, 1]).double()[level]
    d = two_d / 2
    assert set(level.flatten().tolist()) == {0, 1, 2, 3}
    t2 = two_d * torch.floor(u / two_d)
    x2 = (1 - t2)[..., None] * z2 + t2[..., None] * act
    told = d * (level > 0)
    first = v(x2, t2, told).detach()
    second = v(x2 + d[..., None] * first, t2 + d, told).detach()
    expected = expected + 0.7 * (v(x2, t2, two_d) - 0.5 * first - 0.5 * second).square().mean(-1)
    ours = policy.bc_loss(obs, act, double_rng(SEEDS, "evaluate"))
    torch.testing.assert_close(ours, expected)
    parameters = list(policy.parameters())
    for a, b in zip(*(torch.autograd.grad(loss.sum(), parameters) for loss in (ours, expected)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("finest", [2, 8, 64])
def test_the_map_of_a_linear_field_in_any_steps_is_consistent(finest, monkeypatch):
    """v(x, t, d) = k_d x, (1 + d k_d) = (1 + k / M)^(M d): what M Euler steps of dx/dt = k x do, in one of length d."""
    k, policy = -0.8, build(finest=finest)

    def velocity(x, t, d, obs):
        length = torch.where(d == 0, 1 / finest, d)
        return (((1 + k / finest) ** (finest * length) - 1) / length)[..., None] * x

    monkeypatch.setattr(policy, "mean_velocity", velocity)
    rng = double_rng(SEEDS)
    obs, act = rng.normal(30, 4), rng.normal(30, 3).tanh()
    assert policy.inconsistency(obs, act, rng).max() < 1e-28
    noise = 0.5 * rng.normal(30, 3)
    expected = ((1 + k / finest) ** finest * noise).clamp(-1, 1)
    for steps in (2**i for i in range(int(math.log2(finest)) + 1)):
        policy.steps = steps
        torch.testing.assert_close(policy.transport(obs, noise), expected, rtol=1e-12, atol=1e-12)


def test_the_finest_steps_are_eulers_of_the_flow():
    policy, rng = build(steps=8), double_rng(SEEDS)
    obs, noise = rng.normal(5, 4), rng.normal(5, 3)
    x = noise
    for i in range(8):
        t = torch.full((2, 5), i / 8).double()
        x = x + policy.mean_velocity(x, t, torch.zeros_like(t), obs) / 8
    torch.testing.assert_close(policy.transport(obs, noise), x.clamp(-1, 1))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"steps": 3}, "steps must be a power of two, got 3"),
        ({"finest": 12}, "finest must be a power of two, got 12"),
        ({"steps": 16}, "steps must be at most finest = 8, got 16"),
    ],
)
def test_refusals(options, reason):
    with pytest.raises(OptionError, match=reason):
        ShortcutConfig(**options)


@pytest.mark.slow
def test_one_step_goes_where_many_do():
    """From the same noise. One step of plain flow matching would go to the mean whatever the noise."""
    policy = cloned(ShortcutConfig(steps=8), TWO_MODES, steps=3000)
    many, share = two_mode_error(policy)
    actions = transported(policy, (1, 8))
    assert many < 0.08
    assert share < 0.05
    assert (actions[1] - actions[8]).square().mean().sqrt() < 0.1
    assert actions[1].std() > 0.8 * TWO_MODES.std()
