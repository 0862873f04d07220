"""The score of a behaviour diffusion as a regularizer: against autograd of a density in closed form."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_batch

from core.options import OptionError
from policies.deterministic import DeterministicConfig
from policies.gaussian import GaussianConfig
from policies.sde import SDEConfig
from trainers.scores import Score

SEEDS = (0, 1)
BATCH = make_batch()
CENTRE, STD = 0.2, 0.4


def build(**options):
    policy = DeterministicConfig().build(SPEC, SMALL, generators(SEEDS)).double()
    regularizer = Score(behaviour=SDEConfig(), **options).build(SPEC, SMALL, generators((5, 6))).double()
    return policy, regularizer


def gradient(value, policy):
    return torch.cat([g.flatten() for g in torch.autograd.grad(value.sum(), list(policy.parameters()))])


def exact_noise(x, alpha, sigma):
    """Of x = alpha a + sigma z, where a ~ N(CENTRE, STD^2)."""
    return sigma * (x - alpha * CENTRE) / (alpha**2 * STD**2 + sigma**2)


@pytest.mark.parametrize("weight", ["sigma-squared", "signal-to-noise"])
@pytest.mark.parametrize("less_noise", [False, True])
def test_its_gradient_is_that_of_the_smoothed_density(weight, less_noise, monkeypatch):
    """-w / alpha sigma times that of log N(x; alpha centre, alpha^2 std^2 + sigma^2) in the policy's action."""
    policy, regularizer = build(weight=weight, less_noise=less_noise)
    drawn = regularizer.behaviour.predict_noise(BATCH.obs, policy.sample(BATCH.obs, None), double_rng(SEEDS), 0.02)
    alpha, sigma, z = drawn.alpha, drawn.sigma, drawn.drawn
    predict = type(regularizer.behaviour).predict_noise

    def exact(self, *args):
        noised = predict(self, *args)
        return noised._replace(noise=exact_noise(noised.x, noised.alpha, noised.sigma))

    monkeypatch.setattr(type(regularizer.behaviour), "predict_noise", exact)
    ours = gradient(regularizer(policy, BATCH, double_rng(SEEDS)).value, policy)
    act = policy.sample(BATCH.obs, None)
    x = alpha * act + sigma * z
    log_density = -0.5 * (x - alpha * CENTRE).square() / (alpha**2 * STD**2 + sigma**2)
    w = sigma**2 if weight == "sigma-squared" else alpha / sigma
    value = -w * sigma / alpha * log_density - (w * z * act if less_noise else 0.0)
    expected = gradient(value.sum(-1), policy)
    torch.testing.assert_close(ours, expected)


def test_no_gradient_reaches_the_behaviour_but_by_its_own_loss():
    policy, regularizer = build()
    value, own, _ = regularizer(policy, BATCH, double_rng(SEEDS))
    parameters = list(regularizer.behaviour.parameters())
    assert all(g is None for g in torch.autograd.grad(value.sum(), parameters, retain_graph=True, allow_unused=True))
    assert all((g != 0).any() for g in torch.autograd.grad(own.sum(), parameters))


def test_a_frozen_behaviour_has_no_loss():
    policy, regularizer = build()
    regularizer.frozen = True
    assert regularizer(policy, BATCH, double_rng(SEEDS)).own is None


def test_the_behaviour_must_denoise():
    with pytest.raises(OptionError, match="a policy class that denoises"):
        Score(behaviour=GaussianConfig())
    with pytest.raises(OptionError, match="behaviour must be a policy class"):
        Score().build(SPEC, SMALL, generators(SEEDS))
