"""Consistency training: parametrisation, the fixed point of the loss in closed form, a density to recover."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from builders import (
    SMALL,
    SPEC,
    TWO_MODES,
    cloned,
    double_rng,
    generators,
    make_batch,
    make_dataset,
    make_trainer,
    two_mode_error,
)

from core.options import OptionError
from policies.consistency import HUBER, SIGMA_MIN, ConsistencyConfig, levels_at, noise_levels, pseudo_huber
from trainers import REGULARIZERS

MEAN, STD = 0.1, 0.3


def build(**options):
    return ConsistencyConfig(**options).build(SPEC, SMALL, generators((0, 1))).double()


def test_levels_rise_from_the_smallest_to_the_largest():
    for count in (2, 40):
        levels = noise_levels(count, 5.0)
        assert (levels.diff() > 0).all()
        assert (levels[0].item(), levels[-1].item()) == pytest.approx((SIGMA_MIN, 5.0))
    # Karras et al., eq. 5, with its indices running down
    i = torch.arange(40, dtype=torch.float64)
    theirs = (5.0 ** (1 / 7) + i / 39 * (0.002 ** (1 / 7) - 5.0 ** (1 / 7))) ** 7
    torch.testing.assert_close(noise_levels(40, 5.0).flip(0), theirs)


def test_parametrisation_is_the_published_one_and_the_identity_at_the_smallest_noise():
    policy, rng = build(), double_rng((0, 1))
    obs, x = rng.normal(6, 4), rng.normal(6, 3)
    smallest = torch.full((2, 6), SIGMA_MIN, dtype=torch.float64)
    torch.testing.assert_close(policy.denoise(x, smallest, obs), x, rtol=0, atol=1e-15)
    t = 1.7
    inner = policy.net(torch.cat([x / math.sqrt(t**2 + 0.25), torch.full((2, 6, 1), math.log(t) / 4), obs], dim=-1))
    skip, out = 0.25 / ((t - 0.002) ** 2 + 0.25), 0.5 * (t - 0.002) / math.sqrt(t**2 + 0.25)
    torch.testing.assert_close(policy.denoise(x, torch.full_like(smallest, t), obs), skip * x + out * inner)


@pytest.mark.parametrize("loss", ["l2", "pseudo-huber"])
def test_loss_compares_neighbours_and_its_gradient_leaves_the_lower_one_alone(loss):
    policy, rng = build(loss=loss, levels=12), double_rng((0, 1))
    obs, act = rng.normal(6, 4), rng.normal(6, 3).tanh()
    again = double_rng((0, 1), "evaluate")
    level, noise = again.integers(11, 6), again.normal(6, 3)
    levels = noise_levels(12, 5.0)
    low, high = levels[level], levels[level + 1]
    lower = policy.denoise(act + low[..., None] * noise, low, obs).detach()
    error = policy.denoise(act + high[..., None] * noise, high, obs) - lower
    distance = error.square().mean(-1) if loss == "l2" else (error.norm(dim=-1).square() + 3 * HUBER**2).sqrt()
    expected = (distance - (0 if loss == "l2" else HUBER * math.sqrt(3))) / (high - low)
    ours = policy.bc_loss(obs, act, double_rng((0, 1), "evaluate"))
    torch.testing.assert_close(ours, expected)
    parameters = list(policy.parameters())
    for a, b in zip(*(torch.autograd.grad(x.sum(), parameters) for x in (ours, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_pseudo_huber_goes_from_square_to_norm():
    small, large = torch.full((1, 4), 1e-6).double(), torch.full((1, 4), 10.0).double()
    c = HUBER * 2
    assert pseudo_huber(small).item() == pytest.approx((2e-6) ** 2 / (2 * c), rel=1e-4)
    assert pseudo_huber(large).item() == pytest.approx(20 - c, rel=1e-6)


def slope(std: float, levels: torch.Tensor) -> float:
    """What the loss makes of df/dx at the largest level, for data N(., std^2): a product over neighbours.

    f_{n+1}(x) = E[f_n(a + sigma_n z) | a + sigma_{n+1} z = x] is linear if f_n is, and
    E[a - mean + sigma_n z | x] = (x - mean) (std^2 + sigma_n sigma_{n+1}) / (std^2 + sigma_{n+1}^2).
    """
    low, high = levels[:-1], levels[1:]
    return ((std**2 + low * high) / (std**2 + high**2)).prod().item()


def exact_slope(std: float, sigma: float) -> float:
    """The same of the ODE's own map, x -> mean + (x - mean) sqrt((std^2 + eps^2) / (std^2 + sigma^2))."""
    return math.sqrt((std**2 + SIGMA_MIN**2) / (std**2 + sigma**2))


@pytest.mark.parametrize("std", [0.05, 0.3, 1.0])
def test_fixed_point_of_the_loss_goes_to_the_exact_map_at_order_one_in_the_levels(std):
    errors = [1 - slope(std, noise_levels(n + 1, 5.0)) / exact_slope(std, 5.0) for n in (160, 320, 640)]
    assert all(error > 0 for error in errors)
    assert [math.log2(a / b) for a, b in itertools.pairwise(errors)] == pytest.approx([1, 1], abs=0.1)


def test_training_finds_the_fixed_point_of_the_loss():
    """With few levels it lies well away from the exact map, so that the two cannot be taken for each other."""
    config = ConsistencyConfig(levels=8)
    act = MEAN + STD * torch.randn(20_000, 1, generator=torch.Generator().manual_seed(0))
    policy = cloned(config, act, steps=1200)
    z = torch.linspace(-1.5, 1.5, 100)
    with torch.no_grad():
        out = policy.denoise(5 * z.view(1, -1, 1), torch.full((1, 100), 5.0), torch.zeros(1, 100, 1)).flatten()
    measured = ((out - out.mean()) @ z / (z @ z)).item() / 5
    expected, exact = slope(STD, noise_levels(8, 5.0)), exact_slope(STD, 5.0)
    assert expected < 0.8 * exact
    assert measured == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_sampler_returns_gaussian_data_with_the_exact_map(steps, monkeypatch):
    """A prior of the right deviation would give the data's; the prior here is noise alone, so a little less."""
    policy = build(steps=steps)

    def exact(x, sigma, obs):
        return MEAN + (x - MEAN) * ((STD**2 + SIGMA_MIN**2) / (STD**2 + sigma.square()))[..., None].sqrt()

    monkeypatch.setattr(policy, "denoise", exact)
    n = 100_000
    samples = policy.sample(torch.zeros(2, n, 4, dtype=torch.float64), double_rng((0, 1)))
    expected_mean, expected_variance = 0.0, 0.0
    for sigma in noise_levels(steps + 1, 5.0).flip(0)[:-1].tolist():
        k, added = exact_slope(STD, sigma), sigma**2 - (SIGMA_MIN**2 if expected_variance else 0)
        expected_mean = MEAN + k * (expected_mean - MEAN)
        expected_variance = k**2 * (expected_variance + added)
    # the box cuts off what lies beyond three deviations: 1e-3 of the samples, by little
    assert samples.mean().item() == pytest.approx(expected_mean, abs=2e-3)
    assert samples.std().item() == pytest.approx(math.sqrt(expected_variance), rel=5e-3)
    assert samples.std().item() == pytest.approx(STD, rel=1e-2)


@pytest.mark.slow
def test_recovers_a_density_of_two_modes():
    """Within a quarter of what a Gaussian is off; 0.04 is measured (0.12 with pseudo-Huber)."""
    distance, share = two_mode_error(cloned(ConsistencyConfig(), TWO_MODES, steps=2000))
    assert distance < 0.06
    assert share < 0.05


class TestAsReleased:
    """What Consistency-AC does otherwise; the numbers of all of it together: tests/golden/consistency_ac.json."""

    def test_levels_grow_from_two_to_all(self):
        counts = [levels_at(step, 1000, 150) for step in range(1001)]
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (2, 150)

    @pytest.mark.parametrize(("again", "after"), [(False, 12), (True, 2)])
    def test_they_stay_or_grow_again(self, again, after):
        policy = build(growth=50, growth_again=again, levels=12)
        policy.at_step(50)
        assert policy.count.item() == after

    def test_grown_levels_are_those_of_as_many_from_the_start(self):
        policy, rng = build(growth=50, levels=12), double_rng((0, 1))
        policy.at_step(50)
        low, high = policy._neighbours(4000, rng)
        levels = noise_levels(12, 5.0)
        for found, expected in ((low, levels[:-1]), (high, levels[1:])):
            torch.testing.assert_close(found[0].unique().sort().values, expected)

    def test_the_lower_level_is_the_averages_where_that_teaches(self):
        """The trainer hands it over, whether or not a critic asks it too; and nothing else moves it."""
        trainer = make_trainer(ConsistencyConfig(teacher="average", levels=6), (0, 1), "none", ema_start=1, ema_every=1)
        for _ in range(4):
            trainer.train(make_dataset(), 1, double_rng((0, 1)))
        policy, average = trainer.policy, trainer.target_policy
        batch = make_batch()
        level, noise = (rng := double_rng((0, 1))).integers(5, 5), rng.normal(5, 3)
        levels = noise_levels(6, 5.0)
        low, high = levels[level], levels[level + 1]
        error = policy.denoise(batch.act + high[..., None] * noise, high, batch.obs)
        error = error - average.denoise(batch.act + low[..., None] * noise, low, batch.obs)
        ours = policy.bc_loss(batch.obs, batch.act, double_rng((0, 1)))
        torch.testing.assert_close(ours, error.square().mean(-1) / (high - low))
        assert set(dict(policy.named_parameters())) == set(dict(average.named_parameters()))

    def test_a_behaviour_model_has_no_average_to_follow(self):
        with pytest.raises(OptionError, match="behaviour"):
            REGULARIZERS["mmd"](behaviour=ConsistencyConfig(teacher="average"))

    def test_refusals(self):
        with pytest.raises(OptionError, match="sigma_max must be greater than 2"):
            ConsistencyConfig(spacing="even", sigma_max=2.0)
