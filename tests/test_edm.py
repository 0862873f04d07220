"""The EDM policy and its samplers: preconditioning, exact flows at their measured order, moments, DDIM's twin."""

from __future__ import annotations

import math

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators
from exact import Gaussian, Mixture, order
from hypothesis import given, settings
from hypothesis import strategies as st
from test_samplers import gaussians, mixtures, starts

from core.options import OptionError
from policies import karras
from policies.edm import EDMConfig
from policies.samplers import SAMPLERS, guided, run
from policies.samplers import sample as sample_discrete
from policies.schedules import from_alphas_cumprod

SEEDS = (0, 1)
METHODS = {"euler": 1, "heun": 2}
positive = st.floats(0.01, 50)


def exact_denoiser(data):
    return lambda x, sigma: data.clean(x, 1.0, sigma)


def build(**options):
    return EDMConfig(**options).build(SPEC, SMALL, generators(SEEDS)).double()


def draw(batch=5):
    rng = double_rng(SEEDS, "evaluate")
    return rng.normal(batch, SPEC.obs_dim), rng.normal(batch, SPEC.act_dim).tanh()


class TestPreconditioning:
    @given(positive, st.floats(0.05, 5))
    def test_inputs_and_targets_of_the_network_have_unit_variance(self, sigma, data):
        c = karras.precondition(torch.tensor(sigma, dtype=torch.float64), data)
        assert (c.into**2 * (data**2 + sigma**2)).item() == pytest.approx(1)
        # the target is (a - c_skip x) / c_out with x = a + sigma n
        variance = ((1 - c.skip) ** 2 * data**2 + c.skip**2 * sigma**2) / c.out**2
        assert variance.item() == pytest.approx(1)
        assert c.noise.item() == pytest.approx(math.log(sigma) / 4)

    @given(positive, st.floats(0.05, 5))
    def test_c_skip_amplifies_the_networks_errors_least(self, sigma, data):
        """c_out^2, the least error of any linear guess of a from x (Karras et al. 2022, appendix B.6)."""
        c = karras.precondition(torch.tensor(sigma, dtype=torch.float64), data)
        for skip in (c.skip, 0.9 * c.skip, 1.1 * c.skip):
            assert (1 - skip) ** 2 * data**2 + skip**2 * sigma**2 >= c.out**2 * (1 - 1e-12)


@given(st.integers(2, 50), st.floats(0.001, 0.1), st.floats(1, 100), st.floats(1, 10))
def test_levels_are_evenly_spaced_in_their_root(n, lowest, highest, rho):
    levels = karras.sigmas(n, lowest, highest, rho)
    assert levels.shape == (n + 1,)
    assert levels[-1] == 0
    assert (levels.diff() < 0).all()
    assert (levels[0].item(), levels[-2].item()) == (pytest.approx(highest), pytest.approx(lowest))
    steps = (levels[:-1] ** (1 / rho)).diff()
    torch.testing.assert_close(steps, steps[:1].expand(n - 1), rtol=1e-7, atol=1e-12)


def flow_error(method, data, n, dims):
    levels = karras.sigmas(n + 1, 0.1, 10.0, 7.0)[:-1].tolist()
    x = starts(dims)
    out = karras.sample(exact_denoiser(data), levels, x, second_order=method == "heun", clip=None)
    return (out - data.flow(10 * x[:, 0], (1.0, 10.0), (1.0, 0.1))).norm().item()


@pytest.mark.parametrize("method", METHODS)
@given(gaussians)
def test_order_of_convergence_to_a_gaussians_flow(method, data):
    assert order([flow_error(method, data, n, 2) for n in (100, 200)]) == pytest.approx(METHODS[method], abs=0.4)


@pytest.mark.parametrize("method", METHODS)
@given(mixtures)
def test_order_of_convergence_to_a_mixtures_flow(method, data):
    assert order([flow_error(method, data, n, 1) for n in (100, 200)]) == pytest.approx(METHODS[method], abs=0.4)


@given(st.integers(1, 30), st.floats(0.01, 0.1), st.floats(2, 80), st.floats(1, 8), st.integers(0, 100))
def test_euler_is_ddim_in_other_coordinates(n, lowest, highest, rho, seed):
    """x / sqrt(1 + sigma^2) is variance preserving with abar = 1 / (1 + sigma^2), and Euler there is DDIM(0)."""
    levels = karras.sigmas(n, lowest, highest, rho)
    abar = 1 / (1 + levels[:-1].square())
    schedule = from_alphas_cumprod(abar.flip(0))
    noise = double_rng((seed,)).normal(1, 4, 2)

    def discrete(x, t):
        return (x / schedule.alphas_cumprod[t].sqrt()).sin()

    start = noise * levels[0] * abar[0].sqrt()
    ddim = sample_discrete(discrete, schedule, SAMPLERS["ddim"](schedule, "x0"), start, clip=0.8)
    euler = karras.sample(lambda x, sigma: x.sin(), levels.tolist(), noise, second_order=False, clip=0.8)
    torch.testing.assert_close(euler, ddim, rtol=1e-8, atol=1e-8)


@given(st.integers(1, 20), st.floats(0.1, 2), st.floats(0.3, 5), st.integers(0, 100))
def test_eulers_five_numbers_are_euler(n, data, box, seed):
    levels = karras.sigmas(n, 0.01, 20.0, 7.0)
    noise = double_rng((seed,)).normal(1, 4, 2)
    scales = karras.precondition(levels[:-1], data)

    def network(y, t):
        return (y + 0.1 * t).sin()

    def denoiser(x, sigma):
        index = levels.tolist().index(sigma)
        skip, out, into = (column[index] for column in scales[:3])
        return skip * x + out * network(into * x, index)

    rows = karras.euler_coefficients(levels, data).tolist()
    chain = run(network, list(range(n)), rows, levels[0] * scales.into[0] * noise, box)
    plain = karras.sample(denoiser, levels.tolist(), noise, second_order=False, clip=box)
    torch.testing.assert_close(chain, plain, rtol=1e-9, atol=1e-9)


def affine_moments(denoiser, levels, second_order, churn):
    """Mean and covariance for Gaussian data, exactly: one batch row for no noise, one for each unit of noise."""
    draws = len(levels) if churn else 1
    units = 2 * draws
    noise = torch.cat([torch.zeros(1, units), torch.eye(units)]).double().view(1, -1, draws, 2).transpose(1, 2)
    out = karras.sample(denoiser, levels, noise, second_order, churn, None)[0]
    responses = out[1:] - out[0]
    return out[0], responses.T @ responses


@pytest.mark.parametrize("churn", [0.0, 30.0])
@pytest.mark.parametrize("second_order", [False, True])
@settings(max_examples=10)
@given(gaussians)
def test_samples_have_the_first_two_moments_of_a_gaussian(churn, second_order, data):
    errors = []
    for n in (40, 80):
        # from far above the data, so that the start, which knows no mean, is no part of the error
        levels = karras.sigmas(n, 0.002, 2000.0, 7.0).tolist()
        mean, covariance = affine_moments(exact_denoiser(data), levels, second_order, churn)
        errors.append(((mean - data.centre).abs().max() + (covariance - data.covariance).abs().max()).item())
    assert errors[1] < (0.06 if second_order else 0.25)
    assert errors[1] < (0.5 if second_order else 0.8) * errors[0] or errors[0] < 3e-3


@pytest.mark.parametrize("churn", [0.0, 40.0])
def test_samples_match_the_first_two_moments_of_a_mixture(churn):
    data, n = Mixture((0.3, 0.7), (-0.8, 0.5), (0.1, 0.2)), 20_000
    levels = karras.sigmas(60, 0.002, 80.0, 7.0).tolist()
    out = karras.sample(exact_denoiser(data), levels, double_rng((0,)).normal(61, n, 1), True, churn, None)
    deviation = data.variance.sqrt().item()
    assert out.mean().item() == pytest.approx(data.mean.item(), abs=deviation * (4 / math.sqrt(n) + 0.01))
    assert out.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * n) + 0.01)


@pytest.mark.parametrize("second_order", [False, True])
@given(st.integers(1, 20), st.floats(0, 50), st.floats(0.1, 2), st.floats(0.1, 50), st.integers(0, 100))
def test_samples_stay_in_the_box_whatever_the_network_says(second_order, n, churn, box, scale, seed):
    levels = karras.sigmas(n, 0.01, 20.0, 7.0).tolist()
    noise = double_rng((seed,)).normal(n + 1, 5, 2)
    out = karras.sample(lambda x, sigma: scale * x.sin(), levels, noise, second_order, churn, box)
    # the last step is to the clipped estimate itself, x + (0 - sigma) (x - clean) / sigma, up to rounding
    assert out.abs().max() <= box * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("churn", [0.0, 5.0])
@pytest.mark.parametrize("second_order", [False, True])
@given(st.integers(2, 8), st.data())
def test_grad_steps_gives_the_gradient_of_the_truncated_chain(second_order, churn, n, data):
    k = data.draw(st.integers(0, n))
    levels = karras.sigmas(n, 0.1, 5.0, 7.0).tolist()
    noise = 0.3 * double_rng((0,)).normal(n + 1, 3, 2)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    out = karras.sample(lambda x, sigma: (weight * x).sin(), levels, noise, second_order, churn, 1.0, k)
    assert out.requires_grad == (k > 0)
    if k == 0:
        return
    (gradient,) = torch.autograd.grad(out.square().sum(), weight)
    raised = karras.churned(levels, churn)
    # a step is the last k's own if it starts, raised or not, at or below their first level; Heun's second
    # evaluation of the step before is at that same level, and comes first
    calls_before = (n - k) * (2 if second_order else 1)

    def ended(moved):
        calls = iter(range(2 * len(raised)))
        return lambda x, sigma: ((0.7 if next(calls) < calls_before else moved) * x).sin()

    h = 1e-5
    up, down = (
        karras.sample(ended(0.7 + s), levels, noise, second_order, churn, 1.0).square().sum().item() for s in (h, -h)
    )
    assert gradient.item() == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-8)


class TestGuidance:
    data = Gaussian((0.1, 0.2), (0.4, 0.6), 0.8)
    slope = torch.tensor([0.4, -0.2], dtype=torch.float64)

    @pytest.mark.parametrize("sigma", [0.01, 0.5, 20.0])
    def test_through_the_denoiser_it_is_the_discrete_samplers_at_the_same_snr(self, sigma):
        abar = 1 / (1 + sigma**2)
        schedule = from_alphas_cumprod(torch.tensor([abar], dtype=torch.float64))
        root, x = math.sqrt(abar), 3 * starts(2)[:, 0]

        def gradient(clean):
            return clean.cos() * self.slope

        def discrete(y, t):
            return self.data.clean(y / root, 1.0, sigma)

        ours = karras.guided(exact_denoiser(self.data), 0.5, gradient, 1.3, 1.0, True)(x, sigma)
        theirs = guided(discrete, schedule, "x0", gradient, 1.3, 1.0, True)(x * root, 0)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("through", [False, True])
    def test_a_push_without_the_derivative_is_exact_for_a_round_gaussian_of_sigma_data(self, through):
        data = Gaussian((0.3, -0.1), (0.5, 0.5), 0.0)
        x, sigma = starts(2)[:, 0], 0.7
        moved = karras.guided(exact_denoiser(data), 0.5, lambda a: self.slope.expand_as(a), 1.3, None, through)
        tilted = Gaussian(tuple((data.centre + 1.3 * 0.25 * self.slope).tolist()), (0.5, 0.5), 0.0)
        torch.testing.assert_close(moved(x, sigma), tilted.clean(x, 1.0, sigma), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("churn", [0.0, 20.0])
    def test_through_the_denoiser_a_gaussian_is_tilted_exactly(self, churn):
        levels = karras.sigmas(100, 0.002, 80.0, 7.0).tolist()
        plain, scale = exact_denoiser(self.data), 1.5
        moved = karras.guided(plain, 0.5, lambda a: self.slope.expand_as(a), scale, None, True)
        mean, covariance = affine_moments(moved, levels, True, churn)
        goal = self.data.centre + scale * self.data.covariance @ self.slope
        torch.testing.assert_close(mean, goal, rtol=0, atol=0.01)
        torch.testing.assert_close(covariance, self.data.covariance, rtol=0, atol=0.01)


class TestPolicy:
    def test_the_chains_denoiser_is_the_network(self):
        for options in ({}, {"churn": 10.0}):
            policy = build(sample_steps=4, **options)
            obs, _ = draw()
            x = double_rng(SEEDS).normal(5, SPEC.act_dim)
            denoiser = policy._denoiser(obs)
            for sigma in policy.evaluated:
                plain = policy.denoise(x, torch.full((2, 5), sigma, dtype=torch.float64), obs)
                torch.testing.assert_close(denoiser(x, sigma), plain, rtol=1e-10, atol=1e-10)

    def test_the_loss_is_the_weighted_error_of_the_estimate(self):
        """Weighted by lambda = 1 / c_out^2 = (sigma^2 + data^2) / (sigma data)^2 (eq. 8)."""
        policy, (obs, act) = build(), draw()
        rng = double_rng(SEEDS)
        sigma = (-1.2 + 1.2 * rng.normal(5)).exp()
        x = act + sigma[..., None] * rng.normal(5, SPEC.act_dim)
        error = (policy.denoise(x, sigma, obs) - act).square().mean(-1)
        expected = (sigma.square() + 0.25) / (0.5 * sigma).square() * error
        torch.testing.assert_close(policy.bc_loss(obs, act, double_rng(SEEDS)), expected, rtol=1e-9, atol=1e-12)
        estimate = policy.predict_clean(obs, act, double_rng(SEEDS))
        torch.testing.assert_close(estimate, policy.denoise(x, sigma, obs).clamp(-1, 1), rtol=1e-12, atol=1e-12)
        assert estimate.requires_grad

    @pytest.mark.parametrize("options", [{}, {"sampler": "euler"}, {"churn": 10.0}], ids=str)
    @pytest.mark.parametrize("through", [False, True])
    def test_guidance_raises_what_it_follows_and_scale_zero_is_plain(self, options, through):
        policy, (obs, _) = build(sample_steps=6, **options), draw(200)
        slope = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)

        def guide(scale):
            return policy.guided_sample(obs, double_rng(SEEDS), lambda a: slope.expand_as(a), scale, through)

        with torch.no_grad():
            plain = policy.sample(obs, double_rng(SEEDS))
            torch.testing.assert_close(guide(0.0), plain, rtol=0, atol=0)
            values = [(guide(scale) @ slope).mean().item() for scale in (0.0, 0.3, 1.0)]
            assert values == sorted(values)
            assert values[2] > values[0] + 0.1
            assert guide(100.0).abs().max() <= 1

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"sigma_min": 1.0, "sigma_max": 1.0}, "sigma_min must be less than sigma_max"),
            ({"sample_steps": 5, "grad_steps": 6}, "grad_steps must be at most the sampler's 5"),
            ({"time_dim": 5}, "time_dim must be even"),
            ({"rho": 0.5}, "rho must be at least 1"),
        ],
    )
    def test_refusals(self, options, reason):
        with pytest.raises(OptionError, match=reason):
            EDMConfig(**options)
