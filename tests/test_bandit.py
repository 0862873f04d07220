"""The four-mode bandit: its data, and metrics against worked values."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.rng import SeedRng
from tasks.bandits import CENTRES, MODES, REWARDS, Bandit, draw, energy_distance, expected_reward, measure


def test_the_data_are_the_papers():
    data = Bandit().dataset()
    assert len(data) == 10_000
    assert data.act.abs().max() <= 1
    assert (data.discount == 0).all()
    nearest = torch.cdist(data.act.double(), CENTRES).argmin(1)
    for mode, ((x, y), reward) in enumerate(MODES.values()):
        mine = nearest == mode
        assert mine.sum() == 2500
        np.testing.assert_allclose(data.act[mine].mean(0), (x, y), atol=0.005)
        np.testing.assert_allclose(data.act[mine].std(0), 0.05, rtol=0.05)
        assert data.reward[mine].mean().item() == pytest.approx(reward, abs=0.05)
        assert data.reward[mine].std().item() == pytest.approx(0.5, rel=0.05)


def test_the_data_are_the_released_draws():
    """The released toy script seeds torch with 2022 and draws the four modes, then their rewards, in this order."""
    data = Bandit().dataset()
    with torch.random.fork_rng():
        torch.manual_seed(2022)
        std = torch.tensor([0.05, 0.05])
        actions = [torch.distributions.Normal(centre.float(), std).sample((2500,)).clip(-1, 1) for centre in CENTRES]
        rewards = [reward + 0.5 * torch.randn((2500, 1)) for reward in (3.0, 0.0, 1.5, 5.0)]
    torch.testing.assert_close(data.act, torch.cat(actions), rtol=0, atol=0)
    torch.testing.assert_close(data.reward, torch.cat(rewards)[:, 0], rtol=0, atol=1e-6)


def test_the_data_are_the_same_every_time_and_leave_the_global_generator_alone():
    state = torch.get_rng_state()
    assert torch.equal(Bandit().dataset().act, Bandit().dataset().act)
    assert torch.equal(state, torch.get_rng_state())


def test_fresh_data_score_as_data():
    metrics = Bandit().reference().metrics
    assert metrics["energy_distance"][0] < 0.001
    assert metrics["modes_covered"][0] == 4
    # within four deviations in two dimensions: 1 - exp(-8)
    assert metrics["on_mode"][0] == pytest.approx(1 - np.exp(-8), abs=0.001)
    assert metrics["reward"][0] == pytest.approx(REWARDS.mean().item(), abs=0.01)


def test_metrics_of_hand_made_actions():
    fresh, _, _ = draw(400, 0)
    best = torch.tensor([[0.8, -0.8]], dtype=torch.float64)
    points = torch.cat([best.expand(5, 2), best + torch.tensor([0.19, 0.0]), best + torch.tensor([0.21, 0.0]),
                        torch.zeros(2, 2), torch.tensor([[-0.8, 0.8]])])  # fmt: skip
    got = measure(points.double(), fresh)
    assert got["best_mode"] == pytest.approx(0.6)
    assert got["on_mode"] == pytest.approx(0.7)
    assert got["other_modes"] == pytest.approx(0.1)
    assert got["modes_covered"] == 1
    assert got["share_upper_left"] == pytest.approx(0.1)
    assert got["out_of_bounds"] == pytest.approx(0.1)


def test_expected_reward_at_and_between_the_modes():
    torch.testing.assert_close(expected_reward(CENTRES), REWARDS)
    between = (CENTRES[0] + CENTRES[1]) / 2
    assert expected_reward(between[None]).item() == pytest.approx((REWARDS[0] + REWARDS[1]).item() / 2)


points = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=12).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


@given(points, points)
def test_energy_distance_is_a_distance_and_is_the_definition(x, y):
    def mean(a, b):
        return np.mean([np.hypot(*(p - q)) for p in a.numpy() for q in b.numpy()])

    expected = 2 * mean(x, y) - mean(x, x) - mean(y, y)
    assert energy_distance(x, y) == pytest.approx(expected, abs=1e-9)
    assert energy_distance(x, y) == pytest.approx(energy_distance(y, x), abs=1e-12)
    assert energy_distance(x, y) >= -1e-9
    assert energy_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert energy_distance(3 * x, 3 * y) == pytest.approx(3 * energy_distance(x, y), abs=1e-9)


def test_each_seed_is_judged_alone():
    def act(obs, rng):
        drawn, _, _ = draw(obs.shape[1], 5)
        return torch.stack([drawn.float(), torch.zeros_like(drawn).float()])

    metrics = Bandit().evaluate(act, SeedRng((0, 1), "evaluate"), 2).metrics
    assert metrics["on_mode"][0] > 0.99
    assert metrics["on_mode"][1] == 0
