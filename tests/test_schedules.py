"""Properties of every noise schedule at every T, as it is and rescaled to zero terminal SNR, and of the targets."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.schedules import (
    SCHEDULES,
    from_alphas_cumprod,
    from_betas,
    linear_betas,
    make_schedule,
    rescale_to_zero_terminal_snr,
    respace,
)
from policies.targets import TARGETS, WEIGHTINGS, convert, loss_weights, shares, to_clean, to_noise

names = st.sampled_from(sorted(SCHEDULES))
plain = st.builds(make_schedule, names, st.integers(1, 200))
rescaled = st.builds(make_schedule, names, st.integers(2, 200), st.just(True))
schedules = plain | rescaled
bounded = st.floats(-1, 1)
levels = st.floats(1e-6, 1 - 1e-6).map(lambda abar: torch.tensor(abar, dtype=torch.float64))
targets = st.sampled_from(sorted(TARGETS))


@given(plain)
def test_betas_lie_between_zero_and_one_and_signal_only_falls(schedule):
    assert ((schedule.betas > 0) & (schedule.betas < 1)).all()
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert 0 < schedule.alphas_cumprod[-1] <= schedule.alphas_cumprod[0] < 1


@given(schedules)
def test_log_snr_falls_at_every_step(schedule):
    assert (schedule.log_snr.diff() < 0).all()
    abar = schedule.alphas_cumprod
    torch.testing.assert_close(schedule.log_snr, (abar / (1 - abar)).log(), rtol=1e-9, atol=1e-9)


@given(schedules)
def test_signal_and_noise_powers_add_to_one(schedule):
    """alpha and sigma composed from one-step transitions: x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) eps."""
    alpha, variance = 1.0, 0.0
    for t, beta in enumerate(schedule.betas.tolist()):
        alpha, variance = math.sqrt(1 - beta) * alpha, (1 - beta) * variance + beta
        assert alpha**2 + variance == pytest.approx(1, abs=1e-12)
        assert alpha**2 == pytest.approx(schedule.alphas_cumprod[t].item(), rel=1e-9, abs=1e-15)


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


@given(st.integers(1, 2000))
def test_vp_and_rescaled_linear_end_at_the_same_signal_for_every_T(T):
    assert make_schedule("vp", T).alphas_cumprod[-1].item() == pytest.approx(math.exp(-5.05), rel=1e-10)
    assert make_schedule("linear-rescaled", T).alphas_cumprod[-1].item() == pytest.approx(math.exp(-10.05), rel=1e-9)


@pytest.mark.parametrize("T", [100, 1000, 10_000])
def test_rescaled_linear_is_linear_times_1000_over_T_to_first_order(T):
    scaled = 1000 / T * linear_betas(T)
    # half a step's shift of the grid, and the second order of 1 - exp(-b)
    torch.testing.assert_close(
        make_schedule("linear-rescaled", T).betas, scaled, rtol=0, atol=(20 / T) ** 2 + 20 / T**2
    )


def test_plainly_rescaled_linear_would_not_be_a_schedule_at_small_T():
    assert (1000 / 10 * linear_betas(10)).max() > 1


@given(rescaled)
def test_zero_terminal_snr_has_finite_coefficients(schedule):
    for field in ("betas", "previous", "posterior_variance", "posterior_mean_coef1", "posterior_mean_coef2"):
        assert getattr(schedule, field).isfinite().all()
    assert schedule.alphas_cumprod[-1] == 0
    assert schedule.log_snr[-1] == -math.inf
    # nothing of x_T is used in the first step of a sampler: it is all noise
    assert schedule.posterior_mean_coef2[-1] == 0


@given(names, st.integers(2, 200))
def test_zero_terminal_snr_ends_at_zero_and_keeps_its_first_value(name, T):
    before, after = make_schedule(name, T), make_schedule(name, T, zero_terminal_snr=True)
    assert after.alphas_cumprod[-1] == 0
    assert after.alphas_cumprod[0].item() == pytest.approx(before.alphas_cumprod[0].item(), rel=1e-14)
    # the square roots are shifted and scaled: differences keep their proportions
    old, new = before.alphas_cumprod.sqrt().diff(), after.alphas_cumprod.sqrt().diff()
    torch.testing.assert_close(new / new.sum(), old / old.sum(), rtol=1e-9, atol=1e-15)


def test_one_step_cannot_be_rescaled():
    with pytest.raises(ValueError, match="one step"):
        rescale_to_zero_terminal_snr(make_schedule("vp", 1))


@given(schedules, st.data())
def test_a_subsequence_keeps_the_marginals_and_the_last_step(schedule, data):
    n = data.draw(st.integers(1, schedule.T))
    part = respace(schedule, n)
    kept = part.steps
    assert len(kept) == part.T == n
    assert kept[-1] == schedule.T - 1
    assert (kept.diff() >= schedule.T // n).all()
    torch.testing.assert_close(part.alphas_cumprod, schedule.alphas_cumprod[kept], rtol=0, atol=0)
    # its betas are those of the steps skipped, composed
    torch.testing.assert_close(from_betas(part.betas).alphas_cumprod, part.alphas_cumprod, rtol=1e-9, atol=1e-13)
    if n == schedule.T:
        assert part is schedule


@pytest.mark.parametrize("n", [0, 6])
def test_no_more_steps_than_there_are(n):
    with pytest.raises(ValueError, match="between 1 and 5"):
        respace(make_schedule("vp", 5), n)


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=20), st.floats(0.991, 1))
def test_a_schedule_from_abar_is_the_one_from_betas_but_for_its_end(values, end):
    abar = torch.tensor(sorted(set(values), reverse=True), dtype=torch.float64)
    assume((abar.diff().abs() > 1e-6).all())
    schedule = from_alphas_cumprod(abar, end)
    assert schedule.previous[0] == end
    assert schedule.betas[0].item() == pytest.approx(1 - abar[0].item() / end)
    whole = from_betas(from_alphas_cumprod(abar).betas)
    for field in ("betas", "alphas_cumprod", "posterior_variance", "posterior_mean_coef1", "posterior_mean_coef2"):
        torch.testing.assert_close(getattr(whole, field)[1:], getattr(schedule, field)[1:], rtol=1e-8, atol=1e-12)


class TestTargets:
    @given(levels, targets, st.floats(-2, 2), st.floats(-3, 3))
    def test_clean_and_noise_are_recovered_from_any_target(self, abar, target, x0, eps):
        p, q = shares(target, abar)
        x, value = abar.sqrt() * x0 + (1 - abar).sqrt() * eps, p * x0 + q * eps
        (c0, c1), (e0, e1) = to_clean(target, abar), to_noise(target, abar)
        assert (c0 * x + c1 * value).item() == pytest.approx(x0, abs=1e-11)
        assert (e0 * x + e1 * value).item() == pytest.approx(eps, abs=1e-11)

    @given(levels, targets, targets, st.floats(-3, 3), st.floats(-3, 3))
    def test_conversions_are_inverse_to_each_other(self, abar, a, b, x, value):
        x, value = torch.tensor(x, dtype=torch.float64), torch.tensor(value, dtype=torch.float64)
        there = convert(value, x, abar, a, b)
        back = convert(there, x, abar, b, a)
        assert back.item() == pytest.approx(value.item(), abs=1e-15 * 1e3 / min(abar.item(), 1 - abar.item()) + 1e-14)

    @given(levels, targets, targets, targets, st.floats(-3, 3), st.floats(-3, 3))
    def test_conversions_compose(self, abar, a, b, c, x, value):
        x, value = torch.tensor(x, dtype=torch.float64), torch.tensor(value, dtype=torch.float64)
        direct, by_way = convert(value, x, abar, a, c), convert(convert(value, x, abar, a, b), x, abar, b, c)
        tolerance = 1e-12 / min(abar.item(), 1 - abar.item())
        assert direct.item() == pytest.approx(by_way.item(), rel=1e-9, abs=tolerance)

    def test_v_is_salimans_and_ho(self):
        """At an angle phi with alpha = cos phi: v = d x / d phi (their appendix D)."""
        phi, x0, eps = 0.7, 0.3, -1.2
        p, q = shares("v", torch.tensor(math.cos(phi) ** 2, dtype=torch.float64))
        h = 1e-6
        slope = sum(s * (math.cos(phi + s * h) * x0 + math.sin(phi + s * h) * eps) for s in (1, -1)) / (2 * h)
        assert (p * x0 + q * eps).item() == pytest.approx(slope, rel=1e-8)

    @given(levels, targets, bounded, st.floats(-3, 3), bounded)
    @pytest.mark.parametrize("weighting", ["matched", "min-snr"])
    def test_weighted_losses_of_the_targets_agree(self, weighting, abar, target, x0, eps, guess):
        """One guess of x_0, said in each target, costs the same; matched: what it costs as epsilon, unweighted."""
        x = abar.sqrt() * x0 + (1 - abar).sqrt() * eps
        guess = torch.tensor(guess, dtype=torch.float64)
        p, q = shares(target, abar)
        error = convert(guess, x, abar, "x0", target) - (p * x0 + q * eps)
        loss = (loss_weights(weighting, target, abar) * error.square()).item()
        as_epsilon = (convert(guess, x, abar, "x0", "epsilon") - eps).square().item()
        snr = (abar / (1 - abar)).item()
        expected = as_epsilon if weighting == "matched" else min(snr, 5.0) * (guess.item() - x0) ** 2
        assert loss == pytest.approx(expected, rel=1e-6, abs=1e-12)

    @pytest.mark.parametrize("target", TARGETS)
    def test_min_snr_weights_are_the_papers(self, target):
        """Hang et al. 2023, section 3.4: min(SNR, 5) over 1, SNR and SNR + 1 for x0, epsilon and v."""
        abar = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
        snr = abar / (1 - abar)
        over = {"x0": torch.ones_like(snr), "epsilon": snr, "v": snr + 1}[target]
        torch.testing.assert_close(loss_weights("min-snr", target, abar), snr.clamp(max=5) / over)

    @pytest.mark.parametrize("weighting", WEIGHTINGS)
    def test_the_released_loss_is_uniform_and_matched_epsilon(self, weighting):
        abar = make_schedule("vp", 50).alphas_cumprod
        ones = torch.allclose(loss_weights(weighting, "epsilon", abar), torch.ones_like(abar), rtol=1e-12, atol=0)
        assert ones == (weighting != "min-snr")
