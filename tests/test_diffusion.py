"""Properties of the noise schedules and of ancestral sampling."""

from __future__ import annotations

import math

import pytest
import torch
from builders import SMALL, SPEC, double_rng
from hypothesis import given
from hypothesis import strategies as st

from core.rng import seed_generator
from policies.diffusion import DiffusionConfig
from policies.samplers import ddpm
from policies.schedules import SCHEDULES, make_schedule

schedules = st.builds(make_schedule, st.sampled_from(sorted(SCHEDULES)), st.integers(1, 200))
bounded = st.floats(-1, 1)


@given(schedules)
def test_betas_lie_between_zero_and_one_and_signal_only_falls(schedule):
    assert ((schedule.betas > 0) & (schedule.betas < 1)).all()
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert 0 < schedule.alphas_cumprod[-1] <= schedule.alphas_cumprod[0] < 1


@given(st.integers(1, 2000))
def test_vp_ends_at_the_same_signal_for_every_T(T):
    assert make_schedule("vp", T).alphas_cumprod[-1].item() == pytest.approx(math.exp(-5.05), rel=1e-10)


@given(schedules, bounded, st.floats(-3, 3))
def test_posterior_is_bayes_rule(schedule, x0, xt):
    """Precision-weighted product of q(x_t | x_{t-1}) and q(x_{t-1} | x_0), worked out without the closed form."""
    for t in range(1, schedule.T):
        beta, previous = schedule.betas[t].item(), schedule.alphas_cumprod[t - 1].item()
        root = math.sqrt(1 - beta)
        precision = root**2 / beta + 1 / (1 - previous)
        mean = (root * xt / beta + math.sqrt(previous) * x0 / (1 - previous)) / precision
        ours = schedule.posterior_mean_coef1[t].item() * x0 + schedule.posterior_mean_coef2[t].item() * xt
        assert ours == pytest.approx(mean, rel=1e-9, abs=1e-12)
        assert schedule.posterior_variance[t].item() == pytest.approx(1 / precision, rel=1e-9)


@given(schedules)
def test_posterior_composes_to_the_marginal(schedule):
    """Drawing x_t given x_0 and then x_{t-1} from the posterior gives q(x_{t-1} | x_0) again: mean and variance."""
    abar = schedule.alphas_cumprod
    c1, c2 = schedule.posterior_mean_coef1[1:], schedule.posterior_mean_coef2[1:]
    torch.testing.assert_close(c1 + c2 * abar[1:].sqrt(), abar[:-1].sqrt(), rtol=1e-9, atol=1e-12)
    variance = schedule.posterior_variance[1:] + c2.square() * (1 - abar[1:])
    torch.testing.assert_close(variance, 1 - abar[:-1], rtol=1e-9, atol=1e-12)


def noise_for(schedule, *shape, seed=0):
    return double_rng((seed,)).normal(schedule.T + 1, *shape)


@given(schedules, st.lists(bounded, min_size=3, max_size=3), st.integers(0, 100))
def test_point_mass_is_returned_exactly(schedule, point, seed):
    target = torch.tensor(point, dtype=torch.float64)

    def exact(x, t):
        abar = schedule.alphas_cumprod[t]
        return (x - abar.sqrt() * target) / (1 - abar).sqrt()

    out = ddpm(exact, schedule, noise_for(schedule, 4, 3, seed=seed))
    torch.testing.assert_close(out, target.expand_as(out), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.4, 0.1), (-0.7, 0.5)])
def test_gaussian_data_are_returned(name, mean, std):
    """With the exact denoiser the chain returns the data's mean and variance as T grows.

    The chain starts from N(0, 1), which the schedule only approaches, so linear is taken at T = 1000 where it does.
    """
    schedule = make_schedule(name, 1000)

    def exact(x, t):
        abar = schedule.alphas_cumprod[t]
        return (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * std**2 + 1 - abar)

    n = 20_000
    out = ddpm(exact, schedule, noise_for(schedule, n, 1), clip=None).flatten()
    # VP keeps abar_T = e^-5.05, which leaves the start a little off: about 1% of the deviation
    assert out.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(n) + 0.02 * std)
    assert out.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * n) + 0.02)


@given(schedules, st.integers(0, 1000), st.floats(0.1, 2), st.floats(0.1, 50))
def test_samples_stay_in_the_box_whatever_the_network_says(schedule, seed, box, scale):
    out = ddpm(lambda x, t: scale * x.sin(), schedule, noise_for(schedule, 5, 2, seed=seed), clip=box)
    assert out.abs().max() <= box


def test_no_gradient_passes_outside_the_box():
    schedule = make_schedule("vp", 1)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    far = torch.full((1, 2, 1, 1), 100.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(ddpm(lambda x, t: shift + 0 * x, schedule, far).sum(), shift)
    assert gradient == 0


@pytest.mark.parametrize("T", [1, 3, 10])
def test_gradient_of_the_whole_chain_matches_finite_differences(T):
    policy = DiffusionConfig(T=T).build(SPEC, SMALL, [seed_generator(0, "init")]).double()
    obs = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weight = policy.net.layers[0].weight
    out = policy.sample(obs, double_rng((0,))).square().sum()
    (gradient,) = torch.autograd.grad(out, weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight += step * direction
            values.append(policy.sample(obs, double_rng((0,))).square().sum().item())
            weight -= step * direction
    assert (gradient * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-9)


def test_the_chains_denoiser_is_the_network():
    policy = DiffusionConfig(T=7).build(SPEC, SMALL, [seed_generator(s, "init") for s in (0, 1)]).double()
    rng = double_rng((0, 1))
    obs, x = rng.normal(5, 4), rng.normal(5, 3)
    denoiser = policy.denoiser(obs)
    for t in range(7):
        steps = torch.full((2, 5), t)
        torch.testing.assert_close(denoiser(x, t), policy.predict_noise(x, steps, obs), rtol=1e-12, atol=1e-12)
