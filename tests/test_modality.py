"""Modes of actions at similar observations: the dip beside another implementation, level under one mode, power."""

from __future__ import annotations

import numpy as np
import pytest

from tasks import make_task
from tasks.d4rl_reader import QLearning
from tasks.describing import block
from tasks.modality import LEVEL, NEIGHBOURS, UNIFORM_DEVIATION, UNIFORM_MEAN, dip, modality


def test_the_dip_is_that_of_another_implementation():
    diptest = pytest.importorskip("diptest")
    rng = np.random.default_rng(0)
    for n in (3, 4, 5, 17, 50, 90):
        for draw in (rng.standard_normal, rng.uniform, rng.exponential):
            sample = draw(size=n)
            for x in (sample, np.round(sample, 1), np.append(sample, sample + 4)):
                assert dip(np.sort(x)) == pytest.approx(diptest.dipstat(x), abs=1e-12)


def test_the_dip_of_two_points_far_apart_is_the_largest_there_is():
    assert dip(np.repeat([0.0, 1.0], 20)) == pytest.approx(0.25)
    assert dip(np.arange(20.0)) == pytest.approx(1 / 40)


def test_dips_of_uniform_samples_are_as_is_said():
    rng = np.random.default_rng(0)
    found = [dip(np.sort(rng.uniform(size=NEIGHBOURS))) for _ in range(400)]
    assert np.mean(found) == pytest.approx(UNIFORM_MEAN, abs=4 * UNIFORM_DEVIATION / 20)
    assert np.std(found) == pytest.approx(UNIFORM_DEVIATION, rel=0.2)


#: of what is added to an action that follows its observation
ONE_MODE = {
    "Gaussian": lambda rng, n, dims: 0.1 * rng.standard_normal((n, dims)),
    "uniform": lambda rng, n, dims: rng.uniform(-0.3, 0.3, (n, dims)),
    "exponential": lambda rng, n, dims: 0.1 * rng.exponential(size=(n, dims)),
    "nothing": lambda rng, n, dims: np.zeros((n, dims)),
}


def two_modes(rng, n, dims):
    return np.where(rng.random((n, 1)) < 0.5, -0.25, 0.25) + 0.1 * rng.standard_normal((n, dims))


def recorded(added, seed: int, n=1000, obs_dim=2, act_dim=1) -> QLearning:
    rng = np.random.default_rng(seed)
    obs = rng.standard_normal((n, obs_dim)).astype(np.float32)
    follows = 0.4 * np.tanh(obs @ rng.standard_normal((obs_dim, act_dim)) / np.sqrt(obs_dim))
    act = np.clip(follows + added(rng, n, act_dim), -1, 1).astype(np.float32)
    return QLearning(obs, act, np.zeros(n, np.float32), obs, np.ones(n, bool))


@pytest.mark.parametrize("name", ONE_MODE)
def test_one_mode_is_not_taken_for_more(name):
    found = [modality(recorded(ONE_MODE[name], seed)).p for seed in range(6)]
    assert min(found) > LEVEL


@pytest.mark.slow
@pytest.mark.parametrize("name", ONE_MODE)
@pytest.mark.parametrize(("obs_dim", "act_dim"), [(1, 1), (3, 2), (11, 3)])
def test_it_keeps_its_level(name, obs_dim, act_dim):
    found = [modality(recorded(ONE_MODE[name], seed, 1000, obs_dim, act_dim)).p for seed in range(200)]
    assert np.mean(np.array(found) < 0.05) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)


@pytest.mark.parametrize(("obs_dim", "act_dim"), [(1, 1), (3, 2), (17, 6)])
def test_two_modes_are_found_among_1000_points(obs_dim, act_dim):
    found = [modality(recorded(two_modes, seed, 1000, obs_dim, act_dim)) for seed in range(3)]
    assert max(one.p for one in found) < LEVEL
    assert "more than one mode" in found[0].words
    assert "no sign" not in found[0].words


def test_modes_that_observations_tell_are_none():
    """One action left of a line, another right of it: at each observation there is one."""
    data = recorded(lambda rng, n, dims: np.zeros((n, dims)), 0)
    act = np.sign(data.observations[:, :1]) * 0.5
    told = modality(QLearning(data.observations, act, data.rewards, data.observations, data.terminals))
    assert told.left < 0.2
    assert told.p > LEVEL


def test_too_few_transitions_say_nothing():
    data = recorded(two_modes, 0, n=150)
    assert modality(data) is None
    assert "modes" not in block("a", data)


def test_the_block_says_it():
    assert "more than one mode (dip 0." in make_task("bandit").described()
    said = block("a", recorded(ONE_MODE["Gaussian"], 0))
    assert "no sign of more than one mode (dip 0." in said
    assert "of the variance of actions is left" in said
