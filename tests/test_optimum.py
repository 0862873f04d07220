"""pi*_beta ~ pi_b exp(beta Q): closed forms, and what is scored against it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks import make_task
from tasks.measures import grids
from tasks.measures.distances import energy_distance
from tasks.optimum import CANDIDATES, tilted
from tasks.scoring import STRENGTHS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(mean, std, draws):
    return lambda obs: mean + std * torch.randn(len(obs), 1, generator=draws, dtype=torch.float64)


@settings(max_examples=8)
@given(mean=st.floats(-1, 1), std=st.floats(0.3, 1), slope=st.floats(-1, 1), beta=st.floats(0, 1))
def test_a_gaussian_tilted_by_a_line_is_moved(mean, std, slope, beta):
    """N(m, s^2) exp(beta c a) is N(m + beta c s^2, s^2); Q is bounded by its value 8 deviations out."""
    draws = generator()
    upper = max(slope * (mean - 4.5 * std), slope * (mean + 4.5 * std))
    found = tilted(
        gaussian(mean, std, draws), lambda obs, a: slope * a[:, 0], torch.zeros(4000, 2), beta, upper, draws, 2000
    )
    law = stats.norm(mean + beta * slope * std**2, std)
    assert stats.kstest(found.actions[:, 0], law.cdf).pvalue > 1e-4


@pytest.mark.parametrize("beta", [0.0, 1.0, 10.0, 100.0])
@pytest.mark.parametrize("rounds", [1000, 0])
def test_a_gaussian_tilted_by_a_hill_is_narrowed(beta, rounds):
    """N(0, 1) exp(-beta (a - 1)^2 / 2) is N(beta / (1 + beta), 1 / (1 + beta)); by rejection, and by resampling."""
    draws = generator()
    found = tilted(
        gaussian(0.0, 1.0, draws),
        lambda obs, a: -(a[:, 0] - 1).square() / 2,
        torch.zeros(2000, 2),
        beta,
        0.0,
        draws,
        rounds,
    )
    law = stats.norm(beta / (1 + beta), (1 + beta) ** -0.5)
    assert stats.kstest(found.actions[:, 0], law.cdf).pvalue > 1e-4
    assert found.accepted == (1 if rounds else 0)
    if not rounds:
        assert 1 <= found.effective <= CANDIDATES
        # of importance weights (E w)^2 / E w^2, in closed form
        share = (1 + 2 * beta) ** 0.5 / (1 + beta) * np.exp(-beta / (1 + beta) + beta / (1 + 2 * beta))
        assert found.effective == pytest.approx(CANDIDATES * share, rel=0.15)


@pytest.mark.parametrize("reward", ["as-released", "linear", "needle"])
@pytest.mark.parametrize("name", ["ring", "checkerboard"])
def test_draws_in_the_plane_have_the_mass_that_the_density_says(name, reward):
    task = make_task(f"bandit:{name}")
    task = task.under(task.options(reward=reward))
    scoring = task.scoring
    cells = grids.centres(400)
    none = torch.zeros(len(cells), 2).double()
    logs = task.behaviour.log_prob(none, cells)
    for strength in (1.0, 3.0):
        beta = strength / scoring.deviation
        fine = (logs + beta * task.true_q(none, cells)).softmax(0).view(8, 50, 8, 50).sum((1, 3)).flatten()
        seen = torch.bincount(_cell(scoring.optima[strength].actions), minlength=64)
        due = fine.numpy() * int(seen.sum())
        assert pearson(seen.numpy(), due) > 1e-4


def pearson(seen, due):
    """p of counts given those expected, sparse cells taken as one."""
    sparse = due < 5
    seen, due = (np.append(of[~sparse], of[sparse].sum()) for of in (seen, due))
    kept = due > 1
    return stats.chisquare(seen[kept], due[kept] * seen[kept].sum() / due[kept].sum()).pvalue


def _cell(act):
    place = ((act + 1) / 2 * 8).long().clamp(0, 7)
    return place[:, 0] * 8 + place[:, 1]


def test_a_policy_that_is_the_optimum_is_nearest_to_it():
    task = make_task("bandit:ring")
    scoring = task.scoring
    for strength in STRENGTHS[::2]:
        beta = strength / scoring.deviation
        draws = generator(7)
        ours = tilted(
            lambda obs, draws=draws: task.behaviour.sample(obs, draws), task.true_q, scoring.obs, beta, 5.0, draws
        )
        found = scoring.of(ours.actions[None], last=True)
        assert found["optimum_strength"] == strength
        assert found["optimum_distance"] < 0.01


def test_the_frontier_is_where_the_optima_are():
    """KL(pi* || pi_b) = beta E*[Q] - log E_b[exp(beta Q)], by draws of each, against the bound on cells."""
    scoring = make_task("bandit:ring").scoring
    known = scoring.known()
    of_behaviour = scoring.q(scoring.obs, scoring.ground.again[0])
    for strength in (0.3, 1.0, 3.0):
        beta = strength / scoring.deviation
        act = scoring.optima[strength].actions
        reward = float(scoring.q(scoring.obs[: len(act)], act).mean())
        kl = beta * reward - float((beta * of_behaviour).exp().mean().log())
        assert reward == pytest.approx(np.interp(kl, known["frontier_kl"], known["frontier_reward"]), abs=0.1)


def test_rejection_and_resampling_agree_in_many_contexts():
    task = make_task("bandit:conditional")
    scoring = task.scoring
    obs, beta = scoring.obs, 3 / scoring.deviation
    both = []
    for rounds in (200, 0):
        draws = generator(rounds)
        both.append(
            tilted(lambda o, d=draws: task.behaviour.sample(o, d), task.true_q, obs, beta, 5.0, draws, rounds).actions
        )
    assert energy_distance(*both) < 3 * energy_distance(both[0][::2], both[0][1::2])
