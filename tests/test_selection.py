"""Selections: many candidates slice by slice are all candidates at once, and guidance asks for the gradient of Q."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, small_config
from torch import nn

from ablations.plan.views import make_views
from critics import CriticConfig, Critics
from policies import POLICIES
from policies.base import DenoisingPolicy
from trainers import selection
from trainers.selection import ArgmaxQ, Guided, SoftmaxQ
from trainers.slices import SlicedRng

SEEDS = (0, 1)


def judges():
    critic, target = (CriticConfig().build(SPEC, SMALL, generators(SEEDS)).double() for _ in range(2))
    with torch.no_grad():
        for parameter in target.parameters():
            parameter *= 1.5
    return Critics(critic, target)


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("build", [ArgmaxQ, SoftmaxQ])
@pytest.mark.parametrize("observations", [1, 16, 17, 24])
def test_slices_change_nothing(name, build, observations, monkeypatch):
    policy, chosen = small_config(name).build(SPEC, SMALL, generators(SEEDS)).double(), build(candidates=7)
    obs, critics = double_rng(SEEDS).normal(observations, SPEC.obs_dim), judges()
    whole, sliced = double_rng(SEEDS), double_rng(SEEDS)
    largest = []
    sample_each = policy.sample_each
    policy.sample_each = lambda obs, n, rng: largest.append(obs.shape[1] * n) or sample_each(obs, n, rng)
    with torch.no_grad():
        expected = chosen(policy, critics, obs, whole)
        assert largest == [7 * observations]
        monkeypatch.setattr(selection, "ROWS_IN_ONE_PASS", 2 * 7 * 8)
        got = chosen(policy, critics, obs, sliced)
    assert max(largest[1:]) <= 7 * 8
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)
    # and the stream stands where it would have
    assert torch.equal(whole.normal(3), sliced.normal(3))


class TestSlicedRng:
    def test_deals_out_each_draw_by_its_rows(self):
        plain, sliced = double_rng(SEEDS), SlicedRng(double_rng(SEEDS), 10, 4)
        wholes = plain.normal(3, 10, 2), plain.uniform(10), plain.integers(9, 10, 3), plain.uniform()
        for start, size in [(0, 4), (4, 4), (8, 2)]:
            parts = sliced.normal(3, size, 2), sliced.uniform(size), sliced.integers(9, size, 3), sliced.uniform()
            rows = slice(start, start + size)
            assert torch.equal(parts[0], wholes[0][:, :, rows])
            assert torch.equal(parts[1], wholes[1][:, rows])
            assert torch.equal(parts[2], wholes[2][:, rows])
            assert torch.equal(parts[3], wholes[3])
            sliced.advance()

    def test_rows_that_could_be_two_axes_are_not_guessed(self):
        with pytest.raises(AssertionError, match="which axis"):
            SlicedRng(double_rng(SEEDS), 10, 4).normal(4, 4)


class Steered(DenoisingPolicy):
    """One guided step from a drawn action, so that what the gradient was is seen."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 1))

    def bc_loss(self, obs, act, rng):
        raise NotImplementedError

    def sample(self, obs, rng):
        return rng.normal(obs.shape[1], 3)

    def predict_clean(self, obs, act, rng):
        raise NotImplementedError

    def guided_sample(self, obs, rng, gradient, scale, through_denoiser=False):
        start = self.sample(obs, rng)
        return start + scale * gradient(start)


def test_guidance_is_the_gradient_of_the_smallest_target_head():
    critics, rng = judges(), double_rng(SEEDS)
    obs = rng.normal(6, SPEC.obs_dim)
    with torch.no_grad():
        acted = Guided(scale=0.3)(Steered(), critics, obs, double_rng(SEEDS))
    start = double_rng(SEEDS).normal(6, 3)
    assert not acted.requires_grad
    step = 1e-6
    for dim in range(3):
        shift = step * torch.eye(3, dtype=torch.float64)[dim]
        high, low = (critics.target(obs, start + side * shift).amin(1) for side in (1, -1))
        torch.testing.assert_close((acted - start)[..., dim], 0.3 * (high - low) / (2 * step), rtol=1e-5, atol=1e-8)


def test_guidance_goes_through_the_denoiser_where_asked():
    asked = []

    class Asked(Steered):
        def guided_sample(self, obs, rng, gradient, scale, through_denoiser=False):
            asked.append(through_denoiser)
            return self.sample(obs, rng)

    for text in ("guided", "guided:scale=2,through-denoiser=yes"):
        (view,) = make_views([text], [], POLICIES["diffusion"](), {})
        view.selection(Asked(), judges(), double_rng(SEEDS).normal(6, SPEC.obs_dim), double_rng(SEEDS))
    assert asked == [False, True]


def test_guidance_leaves_the_critic_without_gradients():
    critics = judges()
    Guided()(Steered(), critics, double_rng(SEEDS).normal(6, SPEC.obs_dim), double_rng(SEEDS))
    assert all(parameter.grad is None for parameter in critics.target.parameters())
