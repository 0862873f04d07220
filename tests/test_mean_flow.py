"""Mean-flow policy: its identity on a field in closed form, its loss written out, and one step against many."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, TWO_MODES, cloned, double_rng, generators, transported, two_mode_error

from policies.mean_flow import FLOOR, MeanFlowConfig

SEEDS = (0, 1)


def build(**options):
    return MeanFlowConfig(**options).build(SPEC, SMALL, generators(SEEDS)).double()


def draw(size=30):
    rng = double_rng(SEEDS)
    return rng.normal(size, 4), rng.normal(size, 3).tanh(), rng


def test_the_mean_velocity_of_a_linear_field_is_its_own_target(monkeypatch):
    """dx/dt = (k + t) x goes to x exp(k d + t d + d^2 / 2) in a step of length d."""
    k, policy, (obs, x, rng) = -0.8, build(), draw()

    def mean_velocity(x, t, d, obs):
        return ((torch.exp(k * d + t * d + d.square() / 2) - 1) / d)[..., None] * x

    monkeypatch.setattr(policy, "mean_velocity", mean_velocity)
    t, d = rng.uniform(30), 0.05 + 0.5 * rng.uniform(30)
    target = policy.target(x, t, d, (k + t)[..., None] * x, obs)
    torch.testing.assert_close(target, mean_velocity(x, t, d, obs), rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(policy, "steps", 5)
    expected = (x * torch.exp(torch.tensor(k + 0.5).double())).clamp(-1, 1)
    torch.testing.assert_close(policy.transport(obs, x), expected)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_loss_is_its_definition_and_no_gradient_reaches_the_target(power):
    """The derivative along (v, 1, -1) is taken by differences here."""
    policy, (obs, act, _) = build(power=power), draw()
    again = double_rng(SEEDS, "evaluate")
    z, a, b, coin = again.normal(30, 3), again.uniform(30), again.uniform(30), again.uniform(30)
    t, d = torch.minimum(a, b), torch.where(coin < 0.5, (a - b).abs(), 0.0)
    x, v = (1 - t)[..., None] * z + t[..., None] * act, act - z

    def u(h):
        return policy.net(torch.cat([x + h * v, (t + h)[..., None], (d - h)[..., None], obs], dim=-1))

    slope = (u(1e-5) - u(-1e-5)).detach() / 2e-5
    error = (u(0.0) - v - d[..., None] * slope).square()
    expected = error.mean(-1) / (error.detach().sum(-1) + FLOOR) ** power
    ours = policy.bc_loss(obs, act, double_rng(SEEDS, "evaluate"))
    torch.testing.assert_close(ours, expected, rtol=1e-7, atol=1e-9)
    parameters = list(policy.parameters())
    for one, other in zip(*(torch.autograd.grad(loss.sum(), parameters) for loss in (ours, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def test_without_steps_of_some_length_it_is_flow_matching():
    policy, (obs, act, _) = build(share=0.0), draw()
    again = double_rng(SEEDS, "evaluate")
    z, t = again.normal(30, 3), torch.minimum(again.uniform(30), again.uniform(30))
    x = (1 - t)[..., None] * z + t[..., None] * act
    expected = (policy.mean_velocity(x, t, torch.zeros_like(t), obs) - act + z).square().mean(-1)
    torch.testing.assert_close(policy.bc_loss(obs, act, double_rng(SEEDS, "evaluate")), expected)


@pytest.mark.slow
def test_one_step_goes_where_many_do():
    """From the same noise: 0.07 apart is measured, and 0.08 from the data. Of plain flow matching, one step goes to the
    mean whatever the noise."""
    policy = cloned(MeanFlowConfig(), TWO_MODES, steps=3000)
    one, share = two_mode_error(policy)
    actions = transported(policy, (1, 8))
    assert one < 0.11
    assert share < 0.05
    assert (actions[1] - actions[8]).square().mean().sqrt() < 0.15
    assert actions[1].std() > 0.8 * TWO_MODES.std()
