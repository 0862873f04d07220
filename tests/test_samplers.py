"""Samplers against closed forms: exact flows at their measured order, exact moments, each other, finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from builders import double_rng
from exact import Gaussian, Mixture, order
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.samplers import (
    DETERMINISTIC,
    SAMPLERS,
    ddim_coefficients,
    ddpm,
    ddpm_coefficients,
    guided,
    run,
    sample,
    step,
)
from policies.schedules import SCHEDULES, from_alphas_cumprod, make_schedule, respace
from policies.targets import TARGETS, convert

schedules = st.builds(make_schedule, st.sampled_from(sorted(SCHEDULES)), st.integers(1, 200))
rescaled = st.builds(make_schedule, st.sampled_from(sorted(SCHEDULES)), st.integers(2, 200), st.just(True))
bounded = st.floats(-1, 1)
names = st.sampled_from(sorted(SAMPLERS))
targets = st.sampled_from(sorted(TARGETS))
gaussians = st.builds(
    Gaussian,
    st.tuples(bounded, bounded),
    st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    st.floats(0, math.pi),
)
mixtures = st.builds(
    Mixture,
    st.tuples(st.floats(0.2, 1), st.floats(0.2, 1)),
    st.tuples(st.floats(-1, -0.3), st.floats(0.3, 1)),
    st.tuples(st.floats(0.15, 0.5), st.floats(0.15, 0.5)),
)
ORDERS = {"ddim": 1, "dpm++1": 1, "dpm++2m": 2}


def exact_denoiser(data, schedule, target="epsilon"):
    """The network that says what the data's own E[x_0 | x_t] amounts to, at the steps of a whole schedule."""

    def predict(x, t):
        abar = schedule.alphas_cumprod[t]
        clean = data.clean(x, abar.sqrt().item(), (1 - abar).sqrt().item())
        return convert(clean, x, abar, "x0", target) if abar > 0 or target != "epsilon" else x

    return predict


def path(n, first=0.0064, last=0.99):
    """n even steps of lambda from abar = `first` to abar = `last`, a level above the data."""
    ends = torch.tensor([last, first], dtype=torch.float64)
    lambdas = torch.linspace(*((ends / (1 - ends)).log() / 2).tolist(), n + 1, dtype=torch.float64)
    return from_alphas_cumprod(torch.sigmoid(2 * lambdas[1:]), end=last)


def noise_for(schedule, *shape, seed=0):
    return double_rng((seed,)).normal(schedule.T + 1, *shape)


def level(abar):
    return math.sqrt(abar), math.sqrt(1 - abar)


def starts(dims):
    line = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64)
    return torch.cartesian_prod(*[line] * dims).view(1, 1, -1, dims)


def flow_error(name, data, n, dims):
    schedule, x = path(n), starts(dims)
    out = sample(exact_denoiser(data, schedule), schedule, SAMPLERS[name](schedule), x, clip=None)
    return (out - data.flow(x[:, 0], level(0.0064), level(0.99))).norm().item()


@pytest.mark.parametrize("name", ORDERS)
@given(gaussians)
def test_order_of_convergence_to_a_gaussians_flow(name, data):
    assert order([flow_error(name, data, n, 2) for n in (100, 200)]) == pytest.approx(ORDERS[name], abs=0.4)


@pytest.mark.parametrize("name", ORDERS)
@given(mixtures)
def test_order_of_convergence_to_a_mixtures_flow(name, data):
    assert order([flow_error(name, data, n, 1) for n in (100, 200)]) == pytest.approx(ORDERS[name], abs=0.4)


@pytest.mark.parametrize("name", ["cosine", "linear-rescaled", "sigmoid", "vp"])
def test_fewer_steps_of_a_long_schedule_converge_to_the_flow_down_to_the_data(name):
    """n of T = 4096 steps, the last to the data itself: order 1, and the two-step solver is ahead of it all along."""
    whole, x = make_schedule(name, 4096), starts(2)
    data = Gaussian((0.3, -0.5), (0.3, 0.6), 0.5)
    exact = data.flow(x[:, 0], level(whole.alphas_cumprod[-1].item()), (1.0, 0.0))
    errors = {sampler: [] for sampler in ORDERS}
    for n in (32, 64, 128):
        schedule = respace(whole, n)
        for sampler in ORDERS:
            out = sample(exact_denoiser(data, whole), schedule, SAMPLERS[sampler](schedule), x, clip=None)
            errors[sampler].append((out - exact).norm().item())
    assert order(errors["ddim"]) == pytest.approx(1, abs=0.15)
    assert order(errors["dpm++1"]) == pytest.approx(1, abs=0.15)
    assert order(errors["dpm++2m"]) > 0.9
    assert all(second < first / 2 for first, second in zip(errors["ddim"], errors["dpm++2m"], strict=True))


def affine_moments(name, data, schedule, denoiser, **options):
    """Mean and covariance of what a sampler draws for Gaussian data, without sampling: it is affine in its noise.

    One batch row for no noise at all, and one for each unit of noise.
    """
    units = (schedule.T + 1) * 2
    noise = torch.cat([torch.zeros(1, units), torch.eye(units)]).double().view(1, -1, schedule.T + 1, 2).transpose(1, 2)
    out = sample(denoiser, schedule, SAMPLERS[name](schedule, **options), noise, clip=None)[0]
    responses = out[1:] - out[0]
    return out[0], responses.T @ responses


@pytest.mark.parametrize(("name", "theory"), [("ddpm", 1), ("sde-dpm++1", 1), ("sde-dpm++2m", 2)])
@settings(max_examples=10)
@given(gaussians)
def test_stochastic_samplers_match_the_first_two_moments_of_a_gaussian(name, theory, data):
    errors = []
    for n in (40, 80):
        schedule = from_alphas_cumprod(path(n, first=1e-6, last=1 - 1e-4).alphas_cumprod)
        mean, covariance = affine_moments(name, data, schedule, exact_denoiser(data, schedule))
        errors.append(((mean - data.centre).abs().max() + (covariance - data.covariance).abs().max()).item())
    assert errors[1] < 0.15
    # what the start and the last step leave is some 1e-4, whatever the number of steps between
    assert order(errors) > theory - 0.4 or errors[0] < 2e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_match_the_first_two_moments_of_a_mixture(name):
    data = Mixture((0.3, 0.7), (-0.8, 0.5), (0.1, 0.2))
    schedule = make_schedule("linear-rescaled", 200)
    n = 20_000
    noise = noise_for(schedule, n, 1)
    out = sample(exact_denoiser(data, schedule), schedule, SAMPLERS[name](schedule), noise, clip=None)
    deviation = data.variance.sqrt().item()
    assert out.mean().item() == pytest.approx(data.mean.item(), abs=deviation * (4 / math.sqrt(n) + 0.01))
    assert out.std().item() == pytest.approx(deviation, rel=4 / math.sqrt(2 * n) + 0.01)


@given(schedules, targets)
def test_ddim_of_eta_one_is_ddpm(schedule, target):
    """The posterior's mean (through x_0 and x_t) and variance, at every step."""
    ddim = ddim_coefficients(schedule, target, eta=1.0)
    torch.testing.assert_close(ddim, ddpm_coefficients(schedule, target), rtol=1e-7, atol=1e-11)


@given(schedules | rescaled, st.sampled_from(["x0", "v"]))
def test_dpm_solver_1_is_ddim_and_its_sde_is_ddpm_step_for_step(schedule, target):
    for a, b in (("dpm++1", "ddim"), ("sde-dpm++1", "ddpm")):
        ours, twin = (SAMPLERS[name](schedule, target) for name in (a, b))
        torch.testing.assert_close(ours, twin, rtol=1e-7, atol=1e-10)


@given(schedules, st.data())
def test_every_step_but_the_two_step_ones_draws_from_the_right_marginal_at_a_point(schedule, data):
    """With x_0 known, x_t = alpha x_0 + sigma eps goes to alpha' x_0 + sigma' eps': mean and variance, any eta."""
    eta = data.draw(st.floats(0, 1))
    abar, previous = schedule.alphas_cumprod.flip(0), schedule.previous.flip(0)
    for rows in (ddim_coefficients(schedule, eta=eta), SAMPLERS["dpm++1"](schedule), SAMPLERS["sde-dpm++1"](schedule)):
        _, _, of_clean, of_x, deviation = rows.unbind(1)
        torch.testing.assert_close(of_clean + of_x * abar.sqrt(), previous.sqrt(), rtol=1e-8, atol=1e-10)
        variance = of_x.square() * (1 - abar) + deviation.square()
        torch.testing.assert_close(variance, 1 - previous, rtol=1e-8, atol=1e-10)


@given(schedules | rescaled, names, st.sampled_from(["x0", "v"]), st.lists(bounded, min_size=3, max_size=3), st.data())
def test_a_point_is_returned_exactly_in_any_number_of_steps(schedule, name, target, point, data):
    point = torch.tensor(point, dtype=torch.float64)
    part = respace(schedule, data.draw(st.integers(1, schedule.T)))

    def exact(x, t):
        return convert(point.expand_as(x), x, schedule.alphas_cumprod[t], "x0", target)

    out = sample(exact, part, SAMPLERS[name](part, target), noise_for(part, 4, 3))
    assert SAMPLERS[name](part, target).isfinite().all()
    torch.testing.assert_close(out, point.expand_as(out), rtol=0, atol=1e-6)


@given(schedules, st.lists(bounded, min_size=3, max_size=3), st.integers(0, 100))
def test_ddpm_returns_a_point_exactly(schedule, point, seed):
    target = torch.tensor(point, dtype=torch.float64)

    def exact(x, t):
        abar = schedule.alphas_cumprod[t]
        return (x - abar.sqrt() * target) / (1 - abar).sqrt()

    out = ddpm(exact, schedule, noise_for(schedule, 4, 3, seed=seed))
    torch.testing.assert_close(out, target.expand_as(out), rtol=0, atol=1e-6)


@given(schedules, names, targets)
def test_the_target_is_a_choice_of_words(schedule, name, target):
    """One guess of x_0, said in any target, gives the same chain."""
    noise = noise_for(schedule, 3, 1)

    def said(what):
        return lambda x, t: convert(0.3 * x.sin(), x, schedule.alphas_cumprod[t], "x0", what)

    one, other = (sample(said(t), schedule, SAMPLERS[name](schedule, t), noise) for t in (target, "x0"))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-7)


@given(schedules, st.sampled_from(DETERMINISTIC), st.integers(0, 100))
def test_a_deterministic_sampler_with_the_same_start_gives_the_same_end(schedule, name, seed):
    coefficients = SAMPLERS[name](schedule)
    noise, other = noise_for(schedule, 3, 2, seed=seed), noise_for(schedule, 3, 2, seed=seed + 1)
    other[:, 0] = noise[:, 0]
    ends = [sample(lambda x, t: x.sin(), schedule, coefficients, drawn) for drawn in (noise, other, noise[:, :1])]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


@given(schedules, names, targets, st.integers(0, 1000), st.floats(0.1, 2), st.floats(0.1, 50))
def test_samples_stay_in_the_box_whatever_the_network_says(schedule, name, target, seed, box, scale):
    noise = noise_for(schedule, 5, 2, seed=seed)
    out = sample(lambda x, t: scale * x.sin(), schedule, SAMPLERS[name](schedule, target), noise, clip=box)
    assert out.abs().max() <= box


def test_without_clipping_samples_leave_the_box():
    schedule = make_schedule("vp", 5)
    for name in SAMPLERS:
        out = sample(lambda x, t: -9 * x, schedule, SAMPLERS[name](schedule), noise_for(schedule, 50, 2), clip=None)
        assert out.abs().max() > 1


def test_no_gradient_passes_outside_the_box():
    schedule = make_schedule("vp", 1)
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    far = torch.full((1, 2, 1, 1), 100.0, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(ddpm(lambda x, t: shift + 0 * x, schedule, far).sum(), shift)
    assert gradient == 0


@pytest.mark.parametrize("name", SAMPLERS)
@given(st.integers(2, 12), st.data())
def test_grad_steps_gives_the_gradient_of_the_truncated_chain(name, n, data):
    """Against central differences of the last k steps, started where the whole chain had come to."""
    k = data.draw(st.integers(1, n))
    schedule, noise = make_schedule("vp", n), 0.5 * noise_for(make_schedule("vp", n), 3, 2)
    rows, steps = SAMPLERS[name](schedule, "x0"), schedule.steps.flip(0).tolist()

    def network(weight):
        return lambda x, t: torch.tanh(weight * x + 0.1 * t)

    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    out = run(network(weight), steps, rows.tolist(), noise, 1.0, k)
    (gradient,) = torch.autograd.grad(out.square().sum(), weight)

    def frozen_until(moved):
        """The first n - k steps with the old weight, the rest with the moved one."""
        calls = iter(range(n))
        return lambda x, t: network(weight.item() if next(calls) < n - k else moved)(x, t)

    h = 1e-5
    up, down = (run(frozen_until(0.7 + s), steps, rows.tolist(), noise, 1.0).square().sum().item() for s in (h, -h))
    assert gradient.item() == pytest.approx((up - down) / (2 * h), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_grad_steps_no_gradient(name):
    schedule = make_schedule("vp", 4)
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    out = sample(lambda x, t: weight * x, schedule, SAMPLERS[name](schedule), noise_for(schedule, 3, 2), 1.0, 0)
    assert not out.requires_grad


@pytest.mark.parametrize("name", sorted(SCHEDULES))
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.4, 0.1), (-0.7, 0.5)])
def test_gaussian_data_are_returned_by_ddpm(name, mean, std):
    """With the exact denoiser the chain returns the data's mean and variance as T grows.

    The chain starts from N(0, 1), which the schedule only approaches, so linear is taken at T = 1000 where it does.
    """
    schedule = make_schedule(name, 1000)

    def exact(x, t):
        abar = schedule.alphas_cumprod[t]
        return (1 - abar).sqrt() * (x - abar.sqrt() * mean) / (abar * std**2 + 1 - abar)

    n = 20_000
    out = ddpm(exact, schedule, noise_for(schedule, n, 1), clip=None).flatten()
    # VP keeps abar_T = e^-5.05, which leaves the start a little off; sigmoid's steps near the data are the longest
    assert out.mean().item() == pytest.approx(mean, abs=4 * std / math.sqrt(n) + 0.02 * std)
    assert out.std().item() == pytest.approx(std, rel=4 / math.sqrt(2 * n) + 0.03)


class TestGuidance:
    schedule = make_schedule("vp", 40)
    slope = torch.tensor([0.4, -0.2], dtype=torch.float64)
    data = Gaussian((0.1, 0.2), (0.4, 0.6), 0.8)

    @pytest.mark.parametrize("target", TARGETS)
    def test_a_guided_step_is_the_step_of_the_shifted_noise(self, target):
        """eps' = eps - sigma g, worked out in epsilon whatever the network says."""
        x, plain = starts(2)[:, 0], exact_denoiser(self.data, self.schedule, target)

        def gradient(clean):
            return clean.cos() * self.slope

        moved = guided(plain, self.schedule, target, gradient, 2.0, clip=None)
        for t in (39, 20, 1, 0):
            abar = self.schedule.alphas_cumprod[t]
            eps = exact_denoiser(self.data, self.schedule, "epsilon")(x, t)
            clean = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
            eps = eps - (1 - abar).sqrt() * 2.0 * gradient(clean)
            c, d = (ddpm_coefficients(self.schedule, name)[39 - t].tolist() for name in (target, "epsilon"))
            torch.testing.assert_close(
                step(moved(x, t), x, None, c, None), step(eps, x, None, d, None), rtol=1e-9, atol=1e-9
            )

    @pytest.mark.parametrize("through", [False, True])
    def test_scale_zero_is_no_guidance(self, through):
        plain = exact_denoiser(self.data, self.schedule)
        moved = guided(plain, self.schedule, "epsilon", lambda a: self.slope.expand_as(a), 0.0, 1.0, through)
        noise = noise_for(self.schedule, 5, 2)
        assert torch.equal(ddpm(moved, self.schedule, noise), ddpm(plain, self.schedule, noise))

    @pytest.mark.parametrize("name", ["ddpm", "ddim", "sde-dpm++2m"])
    def test_through_the_denoiser_a_gaussian_is_tilted_exactly(self, name):
        """exp(scale <b, a>) N(m, C) is N(m + scale C b, C)."""
        schedule = from_alphas_cumprod(path(200, first=1e-6, last=1 - 1e-4).alphas_cumprod)
        plain, scale = exact_denoiser(self.data, schedule, "v"), 1.5
        moved = guided(plain, schedule, "v", lambda a: self.slope.expand_as(a), scale, None, through_denoiser=True)
        mean, covariance = affine_moments(name, self.data, schedule, moved, target="v")
        goal = self.data.centre + scale * self.data.covariance @ self.slope
        torch.testing.assert_close(mean, goal, rtol=0, atol=0.02)
        torch.testing.assert_close(covariance, self.data.covariance, rtol=0, atol=0.02)

    def test_without_it_samples_go_the_same_way_and_further(self):
        goal = self.data.covariance @ self.slope
        plain = exact_denoiser(self.data, self.schedule)
        moved = guided(plain, self.schedule, "epsilon", lambda a: self.slope.expand_as(a), 1.0, None)
        still, _ = affine_moments("ddim", self.data, self.schedule, plain)
        mean, _ = affine_moments("ddim", self.data, self.schedule, moved)
        assert torch.dot(mean - still, goal) > goal.square().sum()

    @pytest.mark.parametrize("through", [False, True])
    def test_at_zero_snr_nothing_is_guided(self, through):
        schedule = make_schedule("vp", 10, zero_terminal_snr=True)
        plain = exact_denoiser(self.data, schedule, "v")
        moved = guided(plain, schedule, "v", lambda a: self.slope.expand_as(a), 3.0, 1.0, through)
        x = starts(2)[:, 0]
        assert torch.equal(moved(x, 9), plain(x, 9))
        assert not torch.equal(moved(x, 8), plain(x, 8))
