"""The energy policy: samplers against known energies, the contrast's optimum, and two modes cloned."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import SMALL, TWO_MODES, cloned, double_rng, generators, two_mode_error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.options import OptionError
from core.types import TaskSpec
from policies.energy import EnergyConfig, langevin, reflected, step_sizes

LINE = TaskSpec("line", 1, 1)


class Wells(nn.Module):
    """E of 0.3 N(-0.5, 0.15^2) + 0.7 N(0.4, 0.15^2), in place of a policy's network."""

    def forward(self, inputs):
        act = inputs[..., :1]
        shares = torch.tensor([0.3, 0.7]).double()
        distance = (act - torch.tensor([-0.5, 0.4]).double()) / 0.15
        return -(shares.log() - distance.square() / 2).logsumexp(-1, keepdim=True)


def with_known_energy(**options):
    policy = EnergyConfig(**options).build(LINE, SMALL, generators((0,))).double()
    policy.net = Wells()
    return policy


@settings(max_examples=30)
@given(st.floats(-30, 30))
def test_a_reflected_point_is_in_the_box_and_its_mirror_image(x):
    inside = reflected(torch.tensor(x, dtype=torch.float64)).item()
    assert -1 <= inside <= 1
    assert min(abs((x - inside) % 4), 4 - abs((x - inside) % 4), abs((x + inside - 2) % 4),
               4 - abs((x + inside - 2) % 4)) < 1e-9  # fmt: skip
    if -1 <= x <= 1:
        assert inside == pytest.approx(x, abs=1e-12)


def test_langevin_steps_end_at_the_energys_density():
    """N(0.2, 0.25^2) in the first dimension and a slope of 2, cut off by the box, in the second."""

    def slope(x):
        return torch.stack([(x[..., 0] - 0.2) / 0.25**2, torch.full_like(x[..., 1], 2.0)], -1)

    rng = double_rng((0,))
    start, noise = 2 * rng.uniform(6000, 2) - 1, rng.normal(150, 6000, 2)
    gauss, slant = langevin(slope, start, noise, [0.15] * 150)[0].unbind(-1)
    assert gauss.mean().item() == pytest.approx(0.2, abs=0.015)
    # a step of size 0.15 widens it by 5%
    assert gauss.std().item() == pytest.approx(0.25, rel=0.09)
    # density proportional to exp(-2 x) on [-1, 1]: mean 1 / 2 - coth(2)
    assert slant.mean().item() == pytest.approx(0.5 - 1.0373, abs=0.03)


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "derivative-free", "rounds": 0, "candidates": 300},
        {"sampler": "langevin", "candidates": 300, "sample_steps": 15},
    ],
)
def test_samples_of_a_known_energy_have_its_modes_shares_and_widths(options):
    policy = with_known_energy(**options)
    act = policy.sample(torch.zeros(1, 4000, 1).double(), double_rng((0,))).flatten()
    assert (act < -0.05).double().mean().item() == pytest.approx(0.3, abs=0.03)
    assert act[act > -0.05].mean().item() == pytest.approx(0.4, abs=0.015)
    assert act[act > -0.05].std().item() == pytest.approx(0.15, rel=0.08)


def test_more_rounds_go_to_the_wells():
    def spread(rounds):
        policy = with_known_energy(sampler="derivative-free", rounds=rounds)
        act = policy.sample(torch.zeros(1, 2000, 1).double(), double_rng((0,))).flatten()
        return torch.minimum((act - 0.4).abs(), (act + 0.5).abs()).mean()

    assert spread(4) < 0.7 * spread(0)


def test_the_contrast_is_least_at_the_datas_density():
    """exp(b a + c a^2) on the box, for data of such a density: at b and c no gradient is left, elsewhere there is."""
    grid = torch.linspace(-1, 1, 2001).double()
    share = torch.exp(0.8 * grid - 2.0 * grid.square())
    rng = double_rng((0,))
    place = torch.searchsorted(share.cumsum(0) / share.sum(), rng.uniform(20_000).flatten()).clamp(max=2000)
    act, obs = grid[place].view(1, -1, 1), torch.zeros(1, 20_000, 1).double()
    policy = EnergyConfig(negatives=8, anchor=1e-9).build(LINE, SMALL, generators((0,))).double()
    largest = {}
    for b, c in ((0.8, -2.0), (0.4, -2.0), (0.8, -1.0)):
        theta = torch.tensor([b, c]).double().requires_grad_()

        def energy(obs, act, theta=theta):
            return -(theta[0] * act[..., 0] + theta[1] * act[..., 0].square())

        policy.energy = energy
        (gradient,) = torch.autograd.grad(policy.bc_loss(obs, act, double_rng((0,))).mean(), theta)
        largest[b, c] = gradient.abs().max().item()
    assert largest[0.8, -2.0] < 0.01
    assert min(largest[0.4, -2.0], largest[0.8, -1.0]) > 0.03


def test_the_anchor_is_of_the_level_alone():
    policy = EnergyConfig(anchor=2.0).build(LINE, SMALL, generators((0,))).double()
    free = dataclasses.replace(policy.config, anchor=1e-12)
    rng = double_rng((0,))
    obs, act = rng.normal(6, 1), rng.normal(6, 1).tanh()
    both = policy.bc_loss(obs, act, double_rng((0,)))
    policy.config = free
    told = policy.bc_loss(obs, act, double_rng((0,)))
    with torch.no_grad():
        policy.net.layers[-1].bias += 3.0
    torch.testing.assert_close(policy.bc_loss(obs, act, double_rng((0,))), told)
    others = 2 * double_rng((0,)).uniform(6 * 32, 1) - 1
    level = policy.energy(obs.repeat_interleave(32, 1), others).unflatten(1, (6, 32)).mean(-1) - 3.0
    torch.testing.assert_close(both - told, 2.0 * level.square(), rtol=1e-6, atol=1e-9)


def test_sizes_fall_from_the_first_to_the_last():
    sizes = step_sizes(10, 0.3, 0.01)
    assert (sizes[0], sizes[-1]) == (0.3, 0.01)
    assert sizes == sorted(sizes, reverse=True)
    assert step_sizes(1, 0.3, 0.01) == [0.3]


def test_one_candidate_leaves_nothing_to_choose():
    with pytest.raises(OptionError, match="candidates must be at least 2 with sampler derivative-free"):
        EnergyConfig(sampler="derivative-free", candidates=1)


@pytest.mark.slow
def test_two_modes_are_cloned_with_their_shares():
    distance, share = two_mode_error(cloned(EnergyConfig(negatives=16), TWO_MODES, 600))
    assert distance < 0.08
    assert share < 0.08
