"""Backups, improvements, selections, and the fused activation."""

from __future__ import annotations

import shutil

import pytest
import torch
from builders import (
    SMALL,
    SPEC,
    SampledPolicy,
    double_rng,
    generators,
    make_batch,
    make_dataset,
    make_trainer,
    small_config,
)
from torch import nn
from torch.nn import functional as F

from core import fusion
from core.mish import mish_and_slope
from critics import CriticConfig, Critics
from critics.backups import ClippedDoubleQ, RewardOnly
from critics.targets import polyak, td_loss, td_target
from trainers.improvements import QMax
from trainers.selection import ArgmaxQ, Mode, One, SoftmaxQ

SEEDS = (0, 1)


class LinearQ(nn.Module):
    """Q_k(s, a) = (k + 1) * sum(a) + s_0 for K = 2: a critic whose answers are known."""

    def forward(self, obs, act):
        total = act.sum(-1)
        return torch.stack([total + obs[..., 0], 2 * total + obs[..., 0]], dim=1)


class Fixed(SampledPolicy):
    """A policy whose samples are its parameter plus unit noise."""

    def __init__(self):
        super().__init__()
        self.centre = nn.Parameter(torch.zeros(2, 1, 3, dtype=torch.float64))

    def sample(self, obs, rng):
        return self.centre + rng.normal(obs.shape[1], 3)


def both(critic):
    """The critic as its own target."""
    return Critics(critic, critic)


def test_td_target_and_loss_against_worked_numbers():
    target = td_target(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.0]]), torch.tensor([[4.0, 7.0]]))
    assert target.tolist() == [[3.0, 2.0]]
    values = torch.tensor([[[3.0, 1.0], [1.0, 2.0]]])
    assert td_loss(values, target).tolist() == [[0.0 + 4.0, 1.0 + 0.0]]


def test_polyak():
    average, parameter = [torch.tensor([1.0, 2.0])], [torch.tensor([3.0, 2.0])]
    polyak(average, parameter, 0.25)
    assert average[0].tolist() == [1.5, 2.0]


def test_clipped_double_q_takes_the_smaller_head_at_the_target_policys_action():
    data = make_batch()
    act = double_rng(SEEDS).normal(5, 3)
    value = ClippedDoubleQ()(LinearQ(), Fixed(), data, double_rng(SEEDS))
    heads = torch.stack([act.sum(-1), 2 * act.sum(-1)]) + data.next_obs[..., 0]
    assert torch.equal(value, heads.amin(0))


def test_reward_only_is_any_backup_where_the_discount_is_zero():
    data = make_batch()
    zero = torch.zeros_like(data.reward)
    bootstrapped = ClippedDoubleQ()(LinearQ(), Fixed(), data, double_rng(SEEDS))
    plain = RewardOnly()(LinearQ(), None, data, double_rng(SEEDS))
    assert torch.equal(td_target(data.reward, zero, bootstrapped), td_target(data.reward, zero, plain))


class Coin:
    """Noise from a seeded stream, the coin as given."""

    def __init__(self, coins):
        self.coins, self.normal = torch.tensor(coins, dtype=torch.float64), double_rng(SEEDS).normal

    def uniform(self):
        return self.coins


@pytest.mark.parametrize("normalizer", ["other-head", "own-head", "none"])
def test_q_max_picks_a_head_by_the_coin_for_each_seed_and_normalises(normalizer):
    data, policy = make_batch(), Fixed()
    weight, bonus, _ = QMax(eta=2.0, normalizer=normalizer)(policy, both(LinearQ()), data, Coin([0.7, 0.3]))
    values = LinearQ()(data.obs, double_rng(SEEDS).normal(5, 3))
    for seed, head in enumerate((0, 1)):
        scale = {"other-head": values[seed, 1 - head].abs().mean(), "own-head": values[seed, head].abs().mean()}
        expected = -2.0 * values[seed, head] / scale.get(normalizer, torch.tensor(1.0))
        torch.testing.assert_close(bonus[seed], expected)
    assert (weight == 1).all()
    (gradient,) = torch.autograd.grad(bonus.sum(), policy.centre)
    assert (gradient < 0).all(), "descending the bonus must raise Q, and no gradient may pass the normaliser"


def test_normalised_q_max_does_not_see_the_rewards_scale():
    class Scaled(LinearQ):
        def forward(self, obs, act):
            return 37.0 * super().forward(obs, act)

    data, policy = make_batch(), Fixed()
    gradients = []
    for critic in (LinearQ(), Scaled()):
        bonus = QMax()(policy, both(critic), data, Coin([0.7, 0.3])).bonus
        gradients.append(torch.autograd.grad(bonus.sum(), policy.centre)[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_critic_heads_are_separate_networks_in_one_pass(heads):
    critic = CriticConfig(heads=heads).build(SPEC, SMALL, generators(SEEDS)).double()
    rng = double_rng(SEEDS)
    obs, act = rng.normal(4, SPEC.obs_dim), rng.normal(4, SPEC.act_dim)
    values = critic(obs, act)
    assert values.shape == (2, heads, 4)
    x = torch.cat([obs, act], dim=-1)[1]
    layers = list(critic.net.layers)
    for layer in layers[:-1]:
        x = F.mish(x @ layer.weight[1, -1] + layer.bias[1, -1])
    torch.testing.assert_close(values[1, -1], (x @ layers[-1].weight[1, -1] + layers[-1].bias[1, -1])[:, 0])


@pytest.mark.parametrize("heads", [1, 3])
def test_q_max_trains_with_any_number_of_heads(heads):
    trainer = make_trainer(small_config("gaussian"), SEEDS)
    data = make_batch()
    critic = CriticConfig(heads=heads).build(SPEC, SMALL, generators(SEEDS)).double()
    assert QMax()(trainer.policy, both(critic), data, double_rng(SEEDS)).bonus.isfinite().all()


def test_argmax_picks_the_best_candidate_by_the_smaller_head():
    obs = torch.zeros(2, 4, 2, dtype=torch.float64)
    chosen = ArgmaxQ(candidates=20)(Fixed(), both(LinearQ()), obs, double_rng(SEEDS))
    drawn = double_rng(SEEDS).normal(80, 3).view(2, 4, 20, 3)
    score = torch.minimum(drawn.sum(-1), 2 * drawn.sum(-1))
    assert chosen.shape == (2, 4, 3)
    torch.testing.assert_close(torch.minimum(chosen.sum(-1), 2 * chosen.sum(-1)), score.amax(-1))


@pytest.mark.parametrize(("temperature", "agrees"), [(1e-4, 1.0), (1e6, 0.05)])
def test_softmax_goes_from_argmax_to_uniform_with_temperature(temperature, agrees):
    obs = torch.zeros(2, 2000, 2, dtype=torch.float64)
    best = ArgmaxQ(candidates=20)(Fixed(), both(LinearQ()), obs, double_rng(SEEDS))
    chosen = SoftmaxQ(candidates=20, temperature=temperature)(Fixed(), both(LinearQ()), obs, double_rng(SEEDS))
    assert (best == chosen).all(-1).double().mean().item() == pytest.approx(agrees, abs=0.02)


def test_softmax_probabilities():
    class Two(SampledPolicy):
        def sample(self, obs, rng):
            return (
                torch.tensor([0.0, 1.0], dtype=torch.float64).repeat(obs.shape[1] // 2)[None, :, None].expand(2, -1, 1)
            )

    class Q(nn.Module):
        def forward(self, obs, act):
            return act.squeeze(-1)[:, None]

    obs = torch.zeros(2, 20000, 1, dtype=torch.float64)
    share = SoftmaxQ(candidates=2, temperature=0.5)(Two(), both(Q()), obs, double_rng(SEEDS)).mean().item()
    assert share == pytest.approx(1 / (1 + torch.e**-2), abs=0.01)


def test_one_and_mode():
    trainer = make_trainer(small_config("gaussian"), SEEDS)
    obs = make_batch().obs
    assert torch.equal(
        One()(trainer.policy, None, obs, double_rng(SEEDS)), trainer.policy.sample(obs, double_rng(SEEDS))
    )
    assert torch.equal(Mode()(trainer.policy, None, obs, double_rng(SEEDS)), trainer.policy.mode(obs))


class TestMish:
    x = torch.linspace(-100, 100, 4001, dtype=torch.float64)

    def test_formula_and_slope_are_torchs(self):
        leaf = self.x.clone().requires_grad_()
        value, slope = mish_and_slope(self.x)
        torch.testing.assert_close(value, F.mish(self.x), rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(slope, torch.autograd.grad(F.mish(leaf).sum(), leaf)[0], rtol=1e-10, atol=1e-12)

    @pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
    def test_fused_training_is_unfused_training(self):
        data = make_dataset()
        results = []
        try:
            for fused in (False, True):
                fusion.fuse(fused)
                trainer = make_trainer(small_config("diffusion"), SEEDS)
                trainer.train(data, 50, double_rng(SEEDS))
                results.append([p.detach() for p in trainer.policy.parameters()])
        finally:
            fusion.fuse(False)
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
