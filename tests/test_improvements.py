"""Improvements: limits that are behaviour cloning, definitions, and indifference to the reward's scale."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from builders import POLICY_ALONE, SMALL, SPEC, double_rng, generators, make_dataset, make_trainer, small_config
from torch import nn

from core.options import OptionError
from core.rng import SeedRng
from critics import BACKUPS, CriticConfig, Critics
from policies.base import DenoisingPolicy
from policies.gaussian import GaussianConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.edits import EditData
from trainers.improvements import NoImprovement, OneStep, QMax, WeightedRegression
from trainers.trainer import Parts, Trainer

SEEDS = (0, 1)
DATA = make_dataset()
HEADS = ("coin", "first", "min", "mean")
NORMALIZERS = ("other-head", "own-head", "dataset", "none")
MEANINGFUL = [(h, n) for h, n in itertools.product(HEADS, NORMALIZERS) if n != "other-head" or h in ("coin", "first")]


def batch(start=0, size=8):
    return DATA[torch.arange(2 * size).view(2, size) + start]


class Q(nn.Module):
    """Three heads (k + 1) sum(a) + s_0 - k, times a scale: a critic whose answers are known."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, obs, act):
        total = act.sum(-1)
        return self.scale * torch.stack([(k + 1) * total + obs[..., 0] - k for k in range(3)], dim=1)


def critics(online=None, target=None, value=None):
    online = online or Q()
    return Critics(online, target or online, value)


class Denoiser(DenoisingPolicy):
    """Predicts the action shrunk and shifted; samples are far away, so that taking one would show."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(2, 1, 3, dtype=torch.float64))

    def bc_loss(self, obs, act, rng):
        return (act - self.shift).square().mean(-1)

    def sample(self, obs, rng):
        return 100 + self.shift + rng.normal(obs.shape[1], 3)

    def predict_clean(self, obs, act, rng):
        return 0.5 * act + self.shift + 0.1 * rng.normal(*act.shape[1:])

    def guided_sample(self, obs, rng, gradient, scale, through_denoiser=False):
        raise NotImplementedError


def trainer_with(improvement, policy=None, backup="clipped-double-q", **settings):
    parts = Parts(
        policy or GaussianConfig(), REGULARIZERS["bc"](), improvement, BACKUPS[backup](), CriticConfig(), SMALL
    )
    config = TrainerConfig(**{"batch": 8, "ema_start": 0, "ema_every": 1, **settings})
    return Trainer(parts, config, SPEC, SEEDS, dtype=torch.float64)


def policies_after(improvements, backup="clipped-double-q", policy=None, steps=3):
    """The policy's parameters after some actor steps under each improvement; the draws of each step are the same."""
    results = []
    for improvement in improvements:
        trainer = trainer_with(improvement, policy, backup)
        for step in range(steps):
            trainer.take(POLICY_ALONE, batch(16 * step), double_rng(SEEDS))
        results.append([p.detach() for p in trainer.policy.parameters()])
    return results


@pytest.mark.parametrize("policy", ["gaussian", "diffusion", "cvae"])
@pytest.mark.parametrize("baseline", ["value", "sample-mean", "sample-max"])
def test_weighted_regression_with_infinite_beta_is_behaviour_cloning(policy, baseline):
    improvement = WeightedRegression(beta=1e300, baseline=baseline)
    backup = "expectile" if improvement.needs_value else "clipped-double-q"
    weighted, plain = policies_after([improvement, NoImprovement()], backup, small_config(policy))
    assert all(torch.equal(a, b) for a, b in zip(weighted, plain, strict=True))


def test_weighted_regression_with_finite_beta_is_not():
    weighted, plain = policies_after([WeightedRegression(beta=0.1), NoImprovement()])
    assert not any(torch.equal(a, b) for a, b in zip(weighted, plain, strict=True))


@pytest.mark.parametrize(("head", "normalizer"), MEANINGFUL)
def test_q_max_with_eta_zero_is_behaviour_cloning(head, normalizer):
    q_max = QMax(eta=0.0, head=head, normalizer=normalizer)
    ours, plain = policies_after([q_max, NoImprovement()])
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))


@pytest.mark.parametrize(("head", "normalizer"), MEANINGFUL)
@pytest.mark.parametrize("build", [QMax, OneStep])
def test_the_bonus_is_its_definition_and_no_gradient_passes_its_scale(build, head, normalizer):
    data, policy = batch(), Denoiser()
    bonus = build(eta=2.0, head=head, normalizer=normalizer)(policy, critics(), data, double_rng(SEEDS)).bonus
    rng = double_rng(SEEDS)
    take = policy.sample if build is QMax else lambda obs, rng: policy.predict_clean(obs, data.act, rng)
    values, of_data = Q()(data.obs, take(data.obs, rng)), Q()(data.obs, data.act)
    coins = rng.uniform() if head == "coin" else torch.zeros(2)
    for seed in range(2):
        first = int((1 - coins[seed].item()) * 3) if head == "coin" else 0

        def judged(every, seed=seed, first=first, ahead=0):
            both = {"min": every[seed].min(0).values, "mean": every[seed].mean(0)}
            return both.get(head, every[seed, (first + ahead) % 3])

        scale = {
            "other-head": judged(values, ahead=1).abs().mean(),
            "own-head": judged(values).abs().mean(),
            "dataset": judged(of_data).abs().mean(),
            "none": torch.ones(()),
        }[normalizer].item()
        torch.testing.assert_close(bonus[seed], -2.0 * judged(values) / scale)
        (gradient,) = torch.autograd.grad(bonus[seed].sum(), policy.shift, retain_graph=True)
        (expected,) = torch.autograd.grad((-2.0 * judged(values) / scale).sum(), policy.shift, retain_graph=True)
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("head", "normalizer"), [pair for pair in MEANINGFUL if pair[1] != "none"])
@pytest.mark.parametrize("build", [QMax, OneStep])
def test_a_normalised_bonus_does_not_see_the_rewards_scale(build, head, normalizer):
    gradients = []
    for scale in (1.0, 37.0):
        policy = Denoiser()
        improvement = build(head=head, normalizer=normalizer)
        bonus = improvement(policy, critics(Q(scale)), batch(), double_rng(SEEDS)).bonus
        gradients.append(torch.autograd.grad(bonus.sum(), policy.shift)[0])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("head", ["min", "mean"])
def test_all_heads_together_have_no_other_head(head):
    with pytest.raises(OptionError, match="normalizer must be own-head, dataset or none where head is"):
        QMax(head=head)


def test_q_max_averages_over_samples():
    data, policy = batch(), Denoiser()
    bonus = QMax(head="min", normalizer="none", samples=6)(policy, critics(), data, double_rng(SEEDS)).bonus
    act = 100 + double_rng(SEEDS).normal(48, 3).view(2, 8, 6, 3)
    values = torch.stack([Q()(data.obs, act[:, :, i]) for i in range(6)]).mean(0)
    torch.testing.assert_close(bonus, -values.amin(1))


class TestWeights:
    advantage = torch.tensor([[-2.0, 0.0, 0.5, 90.0]]).double()

    def test_exp_is_clipped(self):
        weight = WeightedRegression(beta=0.5, clip=20.0).weight(self.advantage)
        torch.testing.assert_close(weight, torch.tensor([[-4.0, 0.0, 1.0, torch.inf]]).double().exp().clamp(max=20))

    def test_binary(self):
        assert WeightedRegression(form="binary").weight(self.advantage).tolist() == [[0, 0, 1, 1]]

    @pytest.mark.parametrize("form", ["exp", "binary"])
    def test_normalised_they_are_one_on_average_for_each_seed(self, form):
        advantage = torch.cat([self.advantage, -3 * self.advantage])
        weight = WeightedRegression(form=form, normalize=True).weight(advantage)
        torch.testing.assert_close(weight.mean(-1), torch.ones(2).double())
        plain = WeightedRegression(form=form).weight(advantage)
        torch.testing.assert_close(weight, plain / plain.mean(-1, keepdim=True))

    def test_where_nothing_is_better_all_are_zero_and_none_is_nan(self):
        weight = WeightedRegression(form="binary", normalize=True).weight(-self.advantage.abs())
        assert (weight == 0).all()


class TestAdvantage:
    """A = min_k Q_k(s, a) - V(s), by the target heads."""

    def terms(self, **options):
        data, policy = batch(), Denoiser()
        judges = critics(online=Q(5.0), target=Q(), value=lambda obs: 3 * obs[..., 1])
        terms = WeightedRegression(clip=1e300, **options)(policy, judges, data, double_rng(SEEDS))
        assert (terms.bonus == 0).all()
        assert not terms.weight.requires_grad
        return data, terms.weight.log(), Q()(data.obs, data.act).amin(1)

    def test_from_the_backups_own_value(self):
        data, advantage, taken = self.terms(baseline="value")
        torch.testing.assert_close(advantage, taken - 3 * data.obs[..., 1])

    @pytest.mark.parametrize("baseline", ["sample-mean", "sample-max"])
    def test_from_samples_of_the_policy(self, baseline):
        data, advantage, taken = self.terms(baseline=baseline, samples=5, beta=100.0)
        act = 100 + double_rng(SEEDS).normal(40, 3).view(2, 8, 5, 3)
        each = torch.stack([Q()(data.obs, act[:, :, i]).amin(1) for i in range(5)])
        value = each.mean(0) if baseline == "sample-mean" else each.amax(0)
        torch.testing.assert_close(100 * advantage, taken - value)

    def test_only_the_backups_own_needs_one(self):
        needs = {b: WeightedRegression(baseline=b).needs_value for b in ("value", "sample-mean", "sample-max")}
        assert needs == {"value": True, "sample-mean": False, "sample-max": False}


def test_weighted_regression_clones_the_better_actions():
    """One state, two actions; the policy ends at the one that pays."""
    n = 200
    act = torch.full((n, 3), -0.5)
    act[::2] = 0.5
    data = dataclasses.replace(
        make_dataset(n, torch.float32),
        obs=torch.zeros(n, 4), act=act, reward=act[:, 0], next_obs=torch.zeros(n, 4), discount=torch.zeros(n),
    )  # fmt: skip
    trainer = make_trainer(
        small_config("gaussian"), SEEDS, "weighted", torch.float32, batch=32, lr=1e-2, critic_lr=1e-2
    )
    trainer.improvement = WeightedRegression(beta=0.1)
    rng = SeedRng(SEEDS, "train")
    trainer.train(data, 150, rng)
    assert (trainer.policy.mode(torch.zeros(2, 1, 4)) - 0.5).abs().max() < 0.1


@pytest.mark.parametrize("backup", ["clipped-double-q", "expectile"])
def test_a_frozen_critic_does_not_move_and_still_moves_the_policy(backup):
    trainer = trainer_with(QMax(), backup=backup)
    trainer.critic_frozen = True
    frozen = [trainer.critic, trainer.target_critic]
    with torch.no_grad():  # apart, so that a target that still followed would show
        for parameter in trainer.target_critic.parameters():
            parameter += 0.1
    if backup == "expectile":
        frozen.append(trainer.backup)
    before = [p.detach().clone() for module in frozen for p in module.parameters()]
    policy = [p.detach().clone() for p in trainer.policy.parameters()]
    trainer.train(DATA, 5, double_rng(SEEDS))
    after = [p for module in frozen for p in module.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(policy, trainer.policy.parameters(), strict=True))


@pytest.mark.parametrize("heads", [1, 2, 3])
@pytest.mark.parametrize("name", ["q-max", "weighted"])
def test_any_number_of_heads(name, heads):
    critic = CriticConfig(heads=heads).build(SPEC, SMALL, generators(SEEDS)).double()
    policy = GaussianConfig().build(SPEC, SMALL, generators(SEEDS)).double()
    terms = IMPROVEMENTS[name]()(policy, critics(critic), batch(), double_rng(SEEDS))
    assert terms.weight.shape == terms.bonus.shape == (2, 8)
    assert terms.weight.isfinite().all()
    assert terms.bonus.isfinite().all()


class TestEditData:
    """Q = -k |a - c|^2 less the head's number: from a, n plain steps go to c + (1 - 2 rate k)^n (a - c)."""

    k, centre = 0.7, torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64)

    def q(self, obs, act):
        value = -self.k * (act - self.centre).square().sum(-1)
        return torch.stack([value, value - 1], dim=1)

    @pytest.mark.parametrize("steps", [0, 1, 7])
    def test_plain_steps_are_the_closed_form(self, steps):
        data = batch()
        ours = EditData(steps=steps, rate=0.1, normalize=False).edited(critics(online=self.q), data)
        expected = self.centre + (1 - 0.2 * self.k) ** steps * (data.act - self.centre)
        torch.testing.assert_close(ours.act, expected)
        assert torch.equal(ours.reward, data.reward)

    def test_normalised_steps_are_as_long_as_the_rate_whatever_the_scale(self):
        data = batch()
        for scale in (1e-3, 1.0, 1e3):
            scaled = critics(online=lambda obs, act, scale=scale: scale * self.q(obs, act))
            moved = EditData(steps=1, rate=0.03).edited(scaled, data).act - data.act
            inside = (data.act.abs() < 0.9).all(-1)
            assert moved.square().mean(-1).sqrt()[inside] == pytest.approx(0.03)

    def test_actions_stay_in_the_box_and_where_q_is_flat(self):
        data = batch()
        outward = critics(online=lambda obs, act: act.sum(-1)[:, None])
        assert EditData(steps=200).edited(outward, data).act.max() == 1
        flat = critics(online=lambda obs, act: 0 * act.sum(-1)[:, None])
        assert torch.equal(EditData().edited(flat, data).act, data.act)

    def test_no_steps_is_behaviour_cloning_and_the_critic_sees_the_data(self):
        cloned, edited, moved = policies_after([NoImprovement(), EditData(steps=0), EditData()])
        assert all(torch.equal(a, b) for a, b in zip(cloned, edited, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(cloned, moved, strict=True))
        plain, with_edits = trainer_with(QMax(eta=0.0)), trainer_with(EditData())
        for trainer in (plain, with_edits):
            trainer.update(batch(), double_rng(SEEDS))
        pairs = zip(plain.critic.parameters(), with_edits.critic.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
