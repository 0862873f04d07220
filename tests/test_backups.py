"""Backups against their definitions, the expectile against what an expectile is, and LayerNorm with leading axes."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, SampledPolicy, double_rng, generators, make_batch, make_dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from core.networks import MLP, NetworkConfig
from core.types import Transitions
from critics import BACKUPS, CriticConfig, ValueBackup
from critics.backups import ClippedDoubleQ, Expectile, MaxQ, MeanQ, Sarsa, SoftClipped, SoftmaxQ
from critics.targets import expectile_loss, td_target
from policies.gaussian import GaussianConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts, Trainer

SEEDS = (0, 1)
DATA = make_dataset()


class Q(nn.Module):
    """Heads that favour different actions: (a_0, -a_0, a_1) + s_0."""

    def forward(self, obs, act):
        return torch.stack([act[..., 0], -act[..., 0], act[..., 1]], dim=1) + obs[..., None, :, 0]


class Cloud(SampledPolicy):
    def sample(self, obs, rng):
        return 0.3 + rng.normal(obs.shape[1], 3)


def drawn(count):
    """Next actions of a batch as `Cloud` draws them, `[S, B, N, A]`, and the heads' values of them `[S, K, B, N]`."""
    act = 0.3 + double_rng(SEEDS).normal(5 * count, 3).view(2, 5, count, 3)
    return act, torch.stack([Q()(make_batch().next_obs, act[:, :, i]) for i in range(count)], dim=-1)


def test_mean_and_smallest_head_at_one_action():
    _, values = drawn(1)
    for backup, reduced in [(MeanQ(), values.mean(1)), (ClippedDoubleQ(), values.amin(1))]:
        torch.testing.assert_close(backup(Q(), Cloud(), make_batch(), double_rng(SEEDS)), reduced[..., 0])


def test_max_q_lets_each_head_choose():
    _, values = drawn(7)
    ours = MaxQ(samples=7)(Q(), Cloud(), make_batch(), double_rng(SEEDS))
    for seed in range(2):
        for row in range(5):
            best = min(max(values[seed, k, row].tolist()) for k in range(3))
            assert ours[seed, row].item() == pytest.approx(best)
    # one action chosen for all heads could not be as good to each
    assert (ours >= values.amin(1).amax(-1)).all()
    assert (ours > values.amin(1).amax(-1)).any()


@pytest.mark.parametrize("pessimism", [0.0, 0.75, 1.0])
def test_soft_clipped_mixes_the_heads_of_each_action(pessimism):
    _, values = drawn(7)
    ours = SoftClipped(samples=7, pessimism=pessimism)(Q(), Cloud(), make_batch(), double_rng(SEEDS))
    for seed in range(2):
        for row in range(5):
            mixed = [
                pessimism * min(v.tolist()) + (1 - pessimism) * max(v.tolist()) for v in values[seed, :, row].unbind(-1)
            ]
            assert ours[seed, row].item() == pytest.approx(max(mixed))


@pytest.mark.parametrize(("temperature", "expected"), [(1e9, lambda v: v.mean(-1)), (1e-6, lambda v: v.amax(-1))])
def test_softmax_goes_from_the_mean_to_the_largest(temperature, expected):
    _, values = drawn(7)
    ours = SoftmaxQ(samples=7, temperature=temperature)(Q(), Cloud(), make_batch(), double_rng(SEEDS))
    torch.testing.assert_close(ours, expected(values.amin(1)), rtol=1e-6, atol=1e-6)


def test_softmax_weighs_by_exp_of_the_smallest_head():
    _, values = drawn(3)
    ours = SoftmaxQ(samples=3, temperature=0.5)(Q(), Cloud(), make_batch(), double_rng(SEEDS))
    smallest = values.amin(1)
    weights = (2 * smallest).exp()
    torch.testing.assert_close(ours, (weights * smallest).sum(-1) / weights.sum(-1))


@pytest.mark.parametrize("backup", [MaxQ, SoftClipped])
def test_one_sample_of_many_is_one_sample(backup):
    one = backup(samples=1)(Q(), Cloud(), make_batch(), double_rng(SEEDS))
    _, values = drawn(1)
    heads = values[..., 0]
    expected = heads.amin(1) if backup is MaxQ else 0.75 * heads.amin(1) + 0.25 * heads.amax(1)
    torch.testing.assert_close(one, expected)


def test_target_smoothing_is_clipped_noise_inside_the_box():
    data, noise = make_batch(100), double_rng(SEEDS)
    act = 0.3 + noise.normal(100, 3)
    moved = (act + (0.4 * noise.normal(100, 3)).clamp(-0.5, 0.5)).clamp(-1, 1)
    ours = ClippedDoubleQ(noise=0.4)(Q(), Cloud(), data, double_rng(SEEDS))
    assert torch.equal(ours, Q()(data.next_obs, moved).amin(1))


def test_without_noise_nothing_more_is_drawn():
    rng, plain = double_rng(SEEDS), double_rng(SEEDS)
    ClippedDoubleQ()(Q(), Cloud(), make_batch(), rng)
    plain.normal(5, 3)
    assert torch.equal(rng.normal(4), plain.normal(4))


class TestSarsa:
    data = Transitions(*(getattr(DATA, n) for n in ("obs", "act", "reward", "next_obs", "discount")), DATA.act.flip(0))

    def test_evaluates_the_action_the_data_took_next(self):
        index = torch.arange(10).view(2, 5)
        value = Sarsa()(Q(), None, self.data[index], double_rng(SEEDS))
        assert torch.equal(value, Q()(DATA.next_obs[index], DATA.act.flip(0)[index]).amin(1))

    def test_next_actions_follow_their_transitions(self):
        assert self.data.to(torch.float32).next_act.dtype == torch.float32
        assert DATA.to(torch.float32)[torch.zeros(1, 2, dtype=torch.long)].next_act is None

    def test_data_without_them_will_not_do(self):
        assert [name for name, config in BACKUPS.items() if config.needs_next_act] == ["penalised", "sarsa"]
        with pytest.raises(AssertionError, match="needs transitions with next actions"):
            Sarsa()(Q(), None, make_batch(), double_rng(SEEDS))


values = st.lists(st.floats(-5, 5), min_size=2, max_size=12).map(lambda v: torch.tensor(v, dtype=torch.float64))


class TestExpectile:
    @given(values, st.floats(0.05, 0.95))
    def test_the_loss_is_least_at_the_expectile(self, sample, tau):
        """tau E[(q - v)+] = (1 - tau) E[(v - q)+]: found by bisection, and there the slope of the loss is zero."""
        low, high = sample.min().item() - 1, sample.max().item() + 1
        for _ in range(80):
            middle = (low + high) / 2
            excess = tau * (sample - middle).clamp(min=0).mean() - (1 - tau) * (middle - sample).clamp(min=0).mean()
            low, high = (middle, high) if excess > 0 else (low, middle)
        v = torch.tensor(low, dtype=torch.float64, requires_grad=True)
        loss = expectile_loss(sample - v, tau).mean()
        (slope,) = torch.autograd.grad(loss, v)
        assert slope.item() == pytest.approx(0, abs=1e-9)

    def test_against_worked_numbers(self):
        assert expectile_loss(torch.tensor([2.0, -2.0, 0.0]), 0.75).tolist() == [3.0, 1.0, 0.0]

    def test_half_is_half_the_squared_error(self):
        u = torch.linspace(-3, 3, 13, dtype=torch.float64)
        torch.testing.assert_close(expectile_loss(u, 0.5), 0.5 * u.square())

    def test_own_loss_looks_at_the_data_and_no_gradient_leaves_v(self):
        critic = CriticConfig().build(SPEC, SMALL, generators(SEEDS)).double()
        backup, data = Expectile(expectile=0.8).build(SPEC, SMALL, generators(SEEDS)).double(), make_batch()
        loss = backup.own_loss(critic, data)
        excess = critic(data.obs, data.act).amin(1) - backup.value(data.obs)
        torch.testing.assert_close(loss, torch.where(excess < 0, 0.2, 0.8) * excess.square())
        assert torch.autograd.grad(loss.sum(), list(critic.parameters()), allow_unused=True)[0] is None
        assert torch.equal(backup(critic, None, data, double_rng(SEEDS)), backup.value(data.next_obs))

    @pytest.mark.parametrize("tau", [0.5, 0.9])
    def test_trained_v_is_the_expectile_of_q_over_the_data(self, tau):
        """One state, actions in two groups worth 0 and 1, three to one: the expectile is tau / (tau + 3 (1 - tau))."""

        class Worth(nn.Module):
            def forward(self, obs, act):
                return act[..., 0].unsqueeze(1).expand(-1, 2, -1)

        backup = Expectile(expectile=tau).build(SPEC, SMALL, generators(SEEDS)).double()
        zeros = torch.zeros(2, 40, 4, dtype=torch.float64)
        act = (torch.arange(40) % 4 == 0).double()[None, :, None].expand(2, -1, 3)
        data = Transitions(zeros, act, zeros[..., 0], zeros, zeros[..., 0])
        optimizer = torch.optim.Adam(backup.parameters(), 1e-2)
        for _ in range(400):
            optimizer.zero_grad()
            backup.own_loss(Worth(), data).mean(-1).sum().backward()
            optimizer.step()
        expected = tau / (tau + 3 * (1 - tau))
        torch.testing.assert_close(backup.value(zeros), torch.full((2, 40), expected).double(), rtol=0, atol=0.01)


def trainer_with(backup, critic=None):
    parts = Parts(
        GaussianConfig(), REGULARIZERS["bc"](), IMPROVEMENTS["q-max"](), backup, critic or CriticConfig(), SMALL
    )
    return Trainer(parts, TrainerConfig(batch=8, ema_start=0), SPEC, SEEDS, dtype=torch.float64)


@pytest.mark.parametrize("name", BACKUPS)
def test_every_backup_trains_and_asks_for_no_more_than_it_says(name):
    trainer = trainer_with(BACKUPS[name]())
    data = TestSarsa.data if BACKUPS[name].needs_next_act else DATA
    before = [p.detach().clone() for module in trainer.learners().values() for p in module.parameters()]
    record = trainer.train(data, 5, double_rng(SEEDS))
    assert all(value.isfinite().all() for value in record.values())
    assert (trainer.target_policy is not None) == BACKUPS[name].needs_policy
    assert isinstance(trainer.backup, ValueBackup) == BACKUPS[name].has_value
    assert ("value_loss" in record) == BACKUPS[name].has_value
    after = [p for module in trainer.learners().values() for p in module.parameters()]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("name", BACKUPS)
def test_every_backup_is_reward_only_where_the_discount_is_zero(name):
    data = TestSarsa.data[torch.arange(10).view(2, 5)]
    backup = BACKUPS[name]().build(SPEC, SMALL, generators(SEEDS))
    backup = backup.double() if isinstance(backup, nn.Module) else backup
    value = backup(Q(), Cloud(), data, double_rng(SEEDS))
    assert value.shape == (2, 5)
    assert torch.equal(td_target(data.reward, torch.zeros_like(data.reward), value), data.reward)


class TestLayerNorm:
    network = NetworkConfig(hidden=16, depth=2, activation="relu")

    def test_is_each_replicas_own_after_each_activation(self):
        net = MLP((2, 3), 5, 4, self.network, generators(SEEDS), layer_norm=True).double()
        with torch.no_grad():
            for norm in net.norms:
                norm.gain.copy_(1 + 0.1 * double_rng(SEEDS).normal(3, 16))
                norm.bias.copy_(double_rng(SEEDS).normal(3, 16))
        x = double_rng(SEEDS).normal(3, 7, 5)
        out = net(x)
        for s in range(2):
            for k in range(3):
                h = x[s, k]
                for layer, norm in zip(net.layers, net.norms, strict=False):
                    h = F.relu(h @ layer.weight[s, k] + layer.bias[s, k])
                    h = F.layer_norm(h, (16,), norm.gain[s, k], norm.bias[s, k])
                h = h @ net.layers[-1].weight[s, k] + net.layers[-1].bias[s, k]
                torch.testing.assert_close(out[s, k], h)

    def test_changes_no_initial_weight_and_adds_nothing_where_it_is_off(self):
        plain, normed = (MLP((2,), 5, 4, self.network, generators(SEEDS), layer_norm=on) for on in (False, True))
        theirs = normed.state_dict()
        assert all(torch.equal(value, theirs[name]) for name, value in plain.state_dict().items())
        assert len(theirs) == len(plain.state_dict()) + 4

    def test_a_critic_with_it_trains(self):
        trainer = trainer_with(ClippedDoubleQ(), CriticConfig(layer_norm=True))
        gains = [norm.gain.detach().clone() for norm in trainer.critic.net.norms]
        record = trainer.train(DATA, 3, double_rng(SEEDS))
        assert record["critic_loss"].isfinite().all()
        assert not any(torch.equal(g, norm.gain) for g, norm in zip(gains, trainer.critic.net.norms, strict=True))
