"""Fitted Q evaluation against the exact value of a small known MDP, worked out by its linear equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import Transitions
from trainers.fitted_q import Recorded, fitted_q

#: three states and an end; of two actions, to the left and to the right: (probability, next state or None, reward)
OUTCOMES = {
    (0, -1): [(1.0, 0, 0.1)],
    (0, 1): [(0.75, 1, 0.0), (0.25, 0, 0.0)],
    (1, -1): [(1.0, 0, 0.2)],
    (1, 1): [(0.5, 2, 0.0), (0.5, 1, 0.5)],
    (2, -1): [(1.0, 1, 0.0)],
    (2, 1): [(0.5, None, 2.0), (0.5, 0, 0.0)],
}
AT = 0.7


def exact(right: list[float], discount: float) -> np.ndarray:
    """V of the policy that goes right with these probabilities."""
    system, reward = np.eye(3), np.zeros(3)
    for (state, action), outcomes in OUTCOMES.items():
        chosen = right[state] if action > 0 else 1 - right[state]
        for probability, following, gain in outcomes:
            reward[state] += chosen * probability * gain
            if following is not None:
                system[state, following] -= discount * chosen * probability
    return np.linalg.solve(system, reward)


def recorded(discount: float) -> Recorded:
    """Every outcome as often as it is likely; returns that are of no policy."""
    rows = [
        (state, AT * action, gain, state if following is None else following, 0.0 if following is None else discount)
        for (state, action), outcomes in OUTCOMES.items()
        for probability, following, gain in outcomes
        for _ in range(int(4 * probability))
    ]
    state, action, reward, following, discounts = map(torch.tensor, zip(*rows, strict=True))
    one = torch.eye(3)
    data = Transitions(one[state], action[:, None], reward, one[following], discounts)
    return Recorded(data, torch.zeros(len(rows)), one[:1])


def going(right: list[float]):
    chances = torch.tensor(right)

    def act(obs, rng):
        return torch.where(rng.uniform(obs.shape[1])[..., None] < (obs @ chances)[..., None], AT, -AT)

    return act


def evaluated(right, discount, steps, seeds=(0,)):
    rng = SeedRng(seeds, "evaluate")
    return fitted_q(going(right), recorded(discount), NetworkConfig(hidden=32, depth=2), seeds, steps, rng, lr=2e-3)


def test_it_agrees_with_the_exact_value():
    right = [0.9, 0.8, 0.7]
    assert evaluated(right, 0.8, 250).item() == pytest.approx(exact(right, 0.8)[0], rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("right", [[0.9, 0.8, 0.7], [0.2, 0.5, 0.1], [0.5, 1.0, 1.0]])
def test_it_agrees_closely_where_it_has_the_time(right):
    found = evaluated(right, 0.95, 3000, (0, 1, 2))
    np.testing.assert_allclose(found.numpy(), exact(right, 0.95)[0], rtol=0.03)


def test_a_seed_has_its_value_whoever_is_beside_it():
    right = [0.9, 0.8, 0.7]
    together, alone = evaluated(right, 0.8, 10, (3, 4)), evaluated(right, 0.8, 10, (4,))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-6)


def test_its_estimate_stays_within_what_the_rewards_can_return():
    """With targets that run away: a policy far from all data, and a high rate."""
    wild = fitted_q(
        lambda obs, rng: torch.full((*obs.shape[:2], 1), 1e3),
        recorded(0.8),
        NetworkConfig(hidden=8, depth=1),
        (0,),
        60,
        SeedRng((0,), "evaluate"),
        lr=0.1,
    )
    assert wild.isfinite().all()
