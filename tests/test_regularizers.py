"""Regularizers: kernels against brute force, closed forms, conventions, and who is moved by which loss."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from builders import SMALL, SPEC, SampledPolicy, double_rng, generators, make_batch, make_dataset, small_config
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from core.options import OptionError
from core.rng import seed_generator
from critics import BACKUPS, CriticConfig
from policies import POLICIES, TractablePolicy
from policies.cvae import CVAEConfig
from policies.diffusion import DiffusionConfig
from policies.gaussian import GaussianConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.divergences import KL, MMD, EnergyDistance, LearnedMultiplier
from trainers.kernels import KERNELS, energy_distance, mmd_squared
from trainers.penalty import Penalty
from trainers.regularizers import NoRegularizer, SquaredError
from trainers.trainer import Parts, Trainer

SEEDS = (0, 1)
DATA = make_dataset()


class Cloud(SampledPolicy):
    """A policy whose samples are its centre plus unit noise."""

    def __init__(self, centre=0.0):
        super().__init__()
        self.centre = nn.Parameter(torch.full((2, 1, 3), centre, dtype=torch.float64))

    def sample(self, obs, rng):
        return self.centre + rng.normal(obs.shape[1], 3)


def trainer_with(regularizer, policy=None, improvement="none", **settings):
    parts = Parts(
        policy=policy or GaussianConfig(),
        regularizer=regularizer,
        improvement=IMPROVEMENTS[improvement](),
        backup=BACKUPS["clipped-double-q"](),
        critic=CriticConfig(),
        network=SMALL,
    )
    return Trainer(parts, TrainerConfig(**{"batch": 8, **settings}), SPEC, SEEDS, dtype=torch.float64)


def with_behaviour(name, behaviour=None):
    """The named regularizer, each one that can have it with a behaviour model."""
    config = REGULARIZERS[name]
    if "behaviour" not in {field.name for field in dataclasses.fields(config)}:
        return config()
    if name in ("score", "trust-region"):
        return config(behaviour=DiffusionConfig())
    against = {} if name == "kl" else {"against": "behaviour"}
    return config(behaviour=behaviour or GaussianConfig(), **against)


clouds = st.lists(st.tuples(st.floats(-2, 2), st.floats(-2, 2)), min_size=1, max_size=6).map(
    lambda rows: torch.tensor(rows, dtype=torch.float64)
)


class TestKernels:
    @given(clouds, clouds, st.sampled_from(sorted(KERNELS)), st.floats(0.1, 30))
    def test_mmd_is_its_definition_over_all_pairs(self, x, y, name, scale):
        power = {"laplacian": 1, "gaussian": 2}[name]

        def mean(a, b):
            return np.mean([np.exp(-sum(abs(p - q) ** power) / scale) for p in a.numpy() for q in b.numpy()])

        expected = mean(x, x) + mean(y, y) - 2 * mean(x, y)
        assert mmd_squared(x, y, KERNELS[name], scale).item() == pytest.approx(expected, abs=1e-12)

    @given(clouds, clouds, st.sampled_from(sorted(KERNELS)), st.floats(0.1, 30))
    def test_mmd_is_a_symmetric_distance_with_the_scale_of_its_bandwidth(self, x, y, name, scale):
        kernel, power = KERNELS[name], {"laplacian": 1, "gaussian": 2}[name]
        value = mmd_squared(x, y, kernel, scale).item()
        assert -1e-12 <= value <= 2
        assert value == pytest.approx(mmd_squared(y, x, kernel, scale).item(), abs=1e-12)
        assert mmd_squared(x, x, kernel, scale).item() == pytest.approx(0, abs=1e-12)
        assert mmd_squared(3 * x, 3 * y, kernel, 3**power * scale).item() == pytest.approx(value, abs=1e-12)

    @given(clouds, clouds)
    def test_energy_distance_is_its_definition(self, x, y):
        def distances(a, b):
            return np.array([[np.hypot(*(p - q)) for q in b.numpy()] for p in a.numpy()])

        def distinct(a):
            n = len(a)
            return distances(a, a).sum() / max(n * (n - 1), 1)

        cross = 2 * distances(x, y).mean()
        everything = cross - distances(x, x).mean() - distances(y, y).mean()
        assert energy_distance(x, y).item() == pytest.approx(everything, abs=1e-9)
        assert energy_distance(x, y, distinct=True).item() == pytest.approx(cross - distinct(x) - distinct(y), abs=1e-9)

    @given(clouds, clouds)
    def test_energy_distance_is_a_symmetric_distance_in_the_units_of_its_arguments(self, x, y):
        value = energy_distance(x, y).item()
        assert value >= -1e-9
        assert energy_distance(x, x).item() == pytest.approx(0, abs=1e-12)
        assert energy_distance(y, x).item() == pytest.approx(value, abs=1e-12)
        assert energy_distance(3 * x + 1, 3 * y + 1).item() == pytest.approx(3 * value, abs=1e-9)

    def test_distinct_pairs_are_unbiased_and_all_pairs_are_not(self):
        rng = double_rng(SEEDS)
        x, y = rng.normal(4000, 5, 2), rng.normal(4000, 5, 2)
        unbiased = energy_distance(x, y, distinct=True)
        error = unbiased.std().item() / math.sqrt(unbiased.numel())
        assert abs(unbiased.mean().item()) < 4 * error
        # E|x - x'| (1/n + 1/m) with E|x - x'| = sqrt(pi) for two standard normals in the plane
        bias = energy_distance(x, y).mean().item()
        assert bias == pytest.approx(math.sqrt(math.pi) * 2 / 5, abs=4 * error)

    @pytest.mark.parametrize("distinct", [False, True])
    def test_gradients_are_finite_where_points_coincide(self, distinct):
        x = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(energy_distance(x, torch.zeros(1, 2).double(), distinct=distinct), x)
        assert gradient.isfinite().all()


class TestMMD:
    @pytest.mark.parametrize(
        ("convention", "kernel", "expected"),
        [
            ("bear", "laplacian", math.sqrt(2 - 2 * math.exp(-3 / 40) + 1e-6)),
            ("bear", "gaussian", math.sqrt(2 - 2 * math.exp(-5 / 40) + 1e-6)),
            ("brac", "laplacian", 2 - 2 * math.exp(-3 / 20)),
            ("brac", "gaussian", 2 - 2 * math.exp(-5 / 20)),
        ],
    )
    def test_one_sigma_two_conventions(self, convention, kernel, expected):
        x, y = torch.tensor([[1.0, 2.0]]).double(), torch.zeros(1, 2).double()
        regularizer = MMD(convention=convention, kernel=kernel, bandwidth=20.0)
        assert regularizer.distance(x[None, None], y[None, None]).item() == pytest.approx(expected, rel=1e-12)

    def test_pre_tanh_compares_what_went_into_the_tanh(self):
        rng = double_rng(SEEDS)
        x, y = rng.normal(4, 6, 3), rng.normal(4, 6, 3)
        ours = MMD(pre_tanh=True).distance(x.tanh(), y.tanh())
        torch.testing.assert_close(ours, MMD().distance(x, y))

    def test_against_the_data_it_compares_n_samples_with_the_action(self):
        data, policy = make_batch(), Cloud()
        value, own, _ = MMD(samples=7, bandwidth=1.0)(policy, data, double_rng(SEEDS))
        drawn = double_rng(SEEDS).normal(35, 3).view(2, 5, 7, 3)
        assert own is None
        for seed in range(2):
            for row in range(5):
                single = mmd_squared(drawn[seed, row], data.act[seed, row][None], KERNELS["laplacian"], 2.0)
                assert value[seed, row].item() == pytest.approx(math.sqrt(single.item() + 1e-6))

    def test_gradient_draws_the_policy_to_the_data(self):
        data, policy = make_batch(), Cloud(3.0)
        (gradient,) = torch.autograd.grad(MMD()(policy, data, double_rng(SEEDS)).value.sum(), policy.centre)
        assert (gradient > 0).all()


class Constant(nn.Module):
    """A penalty of the given value for each seed."""

    def __init__(self, values):
        super().__init__()
        self.values = nn.Parameter(torch.tensor(values, dtype=torch.float64))

    def forward(self, policy, data, rng):
        return Penalty(self.values[:, None].expand(-1, 4))


class TestLearnedMultiplier:
    def test_value_and_gradient(self):
        multiplier = LearnedMultiplier(Constant([0.3, 0.01]), 0.05, 2).double()
        with torch.no_grad():
            multiplier.log_multiplier.copy_(torch.tensor([[0.7], [-0.2]]))
        value, own, weight = multiplier(None, None, None)
        alpha = torch.tensor([0.7, -0.2]).double().exp()
        # what is recorded of it says how far the policy is from the data, whatever the multiplier
        torch.testing.assert_close(value[:, 0], torch.tensor([0.3, 0.01]).double())
        torch.testing.assert_close(weight[:, 0], alpha)
        (gradient,) = torch.autograd.grad(own.mean(-1).sum(), multiplier.log_multiplier)
        # descending its own loss raises alpha above the threshold and lowers it below
        torch.testing.assert_close(gradient, -(alpha * torch.tensor([0.25, -0.04]))[:, None])
        graph = torch.autograd.grad((weight * value).sum(), [multiplier.log_multiplier], allow_unused=True)
        assert graph == (None,)

    def test_the_policy_is_not_moved_by_the_multipliers_loss(self):
        inner = Constant([0.3, 0.01])
        own = LearnedMultiplier(inner, 0.05, 2).double()(None, None, None).own
        assert torch.autograd.grad(own.sum(), [inner.values], allow_unused=True) == (None,)

    @pytest.mark.parametrize(("start", "bound", "penalty"), [(50.0, 10.0, 0.01), (-50.0, -5.0, 1.0)])
    def test_stays_in_its_bounds_and_comes_back(self, start, bound, penalty):
        multiplier = LearnedMultiplier(Constant([penalty]), 0.05, 1).double()
        with torch.no_grad():
            multiplier.log_multiplier.fill_(start)
        multiplier(None, None, None)
        assert multiplier.log_multiplier.item() == bound
        optimizer = torch.optim.Adam([multiplier.log_multiplier], 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            multiplier(None, None, None).own.mean().backward()
            optimizer.step()
        assert abs(multiplier.log_multiplier.item()) < abs(bound)

    @pytest.mark.parametrize(("threshold", "direction"), [(0.05, 1), (3.0, -1)])
    def test_in_training_it_rises_above_the_threshold_and_falls_below(self, threshold, direction):
        regularizer = MMD(multiplier="learned", threshold=threshold, bandwidth=1.0, samples=4)
        trainer = trainer_with(regularizer, improvement="q-max", critic_lr=1e-2)
        trainer.train(DATA, 20, double_rng(SEEDS))
        assert (direction * trainer.regularizer.log_multiplier > 0.1).all()


class TestEnergyDistance:
    def test_one_action_for_each_state_is_enough_to_prefer_the_behaviour(self):
        """E over the data of the unbiased distance to one action is least at the data's own spread."""

        class Spread(SampledPolicy):
            def __init__(self, width):
                super().__init__()
                self.width = width

            def sample(self, obs, rng):
                return self.width * rng.normal(obs.shape[1], 3)

        rng = double_rng(SEEDS)
        n = 6000
        data = dataclasses.replace(make_batch(), obs=rng.normal(n, 4), act=rng.normal(n, 3))
        losses = {
            pairs: [EnergyDistance(pairs=pairs, samples=3)(Spread(w), data, double_rng((7, 8))).value.mean().item()
                    for w in (0.5, 0.8, 1.0, 1.25, 2.0)]
            for pairs in ("distinct", "all")
        }  # fmt: skip
        assert np.argmin(losses["distinct"]) == 2
        assert np.argmin(losses["all"]) < 2, "over all pairs a few samples favour a policy too narrow"


class TestKL:
    def gaussians(self):
        policy, behaviour = (
            GaussianConfig(bound="none").build(SPEC, SMALL, generators(seeds)).double() for seeds in ((0, 1), (2, 3))
        )
        regularizer = (
            KL(samples=4, behaviour=GaussianConfig(bound="none")).build(SPEC, SMALL, generators(SEEDS)).double()
        )
        regularizer.behaviour.load_state_dict(behaviour.state_dict())
        return policy, regularizer

    def closed_form(self, policy, behaviour, obs):
        both = [model._mean_and_log_std(obs) for model in (policy, behaviour)]
        ours, theirs = (torch.distributions.Normal(mean, log_std.exp()) for mean, log_std in both)
        return torch.distributions.kl_divergence(ours, theirs).sum(-1)

    def test_is_the_closed_form_in_expectation_and_so_is_its_gradient(self):
        policy, regularizer = self.gaussians()
        obs = double_rng(SEEDS).normal(1, 4).expand(-1, 20_000, -1)
        data = dataclasses.replace(make_batch(1), obs=obs, act=torch.zeros(2, 20_000, 3).double())
        value = regularizer(policy, data, double_rng(SEEDS)).value
        expected = self.closed_form(policy, regularizer.behaviour, obs)
        error = value.std(-1) / math.sqrt(value.shape[1])
        assert ((value.mean(-1) - expected.mean(-1)).abs() < 4 * error).all()
        parameters = list(policy.parameters())
        ours, exact = (torch.autograd.grad(loss.mean(-1).sum(), parameters) for loss in (value, expected))
        for a, b in zip(ours, exact, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0.02 * max(1.0, b.abs().max().item()))

    @pytest.mark.parametrize("bound", ["tanh", "none"])
    def test_is_exactly_zero_to_itself(self, bound):
        policy = GaussianConfig(bound=bound).build(SPEC, SMALL, generators(SEEDS)).double()
        regularizer = KL(behaviour=GaussianConfig(bound=bound)).build(SPEC, SMALL, generators(SEEDS)).double()
        regularizer.behaviour.load_state_dict(policy.state_dict())
        assert (regularizer(policy, make_batch(), double_rng(SEEDS)).value == 0).all()

    def test_a_behaviour_without_a_density_is_refused(self):
        with pytest.raises(OptionError, match="behaviour must be a policy class with a density"):
            KL(behaviour=CVAEConfig()).build(SPEC, SMALL, generators(SEEDS))


def test_squared_error_is_a_mean_over_action_dimensions():
    data = make_batch()
    value = SquaredError()(Cloud(), data, double_rng(SEEDS)).value
    torch.testing.assert_close(value, (data.act - double_rng(SEEDS).normal(5, 3)).square().sum(-1) / 3)


def test_none_leaves_the_policy_to_the_improvement_whatever_its_weight():
    trainers = [trainer_with(NoRegularizer(coef=coef), improvement="q-max") for coef in (0.0, 5.0)]
    for trainer in trainers:
        trainer.train(DATA, 3, double_rng(SEEDS))
    for a, b in zip(*(trainer.policy.parameters() for trainer in trainers), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["mmd", "energy-distance", "kl"])
class TestBehaviour:
    def test_is_moved_by_its_own_loss_alone(self, name):
        config = with_behaviour(name)
        policy = GaussianConfig().build(SPEC, SMALL, [seed_generator(5, "init")] * 2).double()
        regularizer, data = config.build(SPEC, SMALL, generators(SEEDS)).double(), make_batch()
        value, own, _ = regularizer(policy, data, double_rng(SEEDS))
        torch.testing.assert_close(own, -regularizer.behaviour.log_prob(data.obs, data.act))
        assert torch.autograd.grad(own.sum(), list(policy.parameters()), allow_unused=True)[0] is None
        assert all((g != 0).any() for g in torch.autograd.grad(value.sum(), list(policy.parameters())))

    def test_trained_beside_is_the_model_trained_alone(self, name):
        """The behaviour model of a regularizer takes the steps that behaviour cloning alone would."""
        beside = trainer_with(with_behaviour(name), critic_lr=3e-4)
        alone = trainer_with(REGULARIZERS["bc"]())
        alone.policy.load_state_dict(beside.regularizer.behaviour.state_dict())
        for step in range(3):
            data = DATA[torch.arange(16).view(2, 8) + 16 * step]
            beside.update(data, double_rng(SEEDS))
            alone.update(data, double_rng(SEEDS))
        for a, b in zip(alone.policy.parameters(), beside.regularizer.behaviour.parameters(), strict=True):
            assert torch.equal(a, b)

    def test_must_be_chosen(self, name):
        config = with_behaviour(name)
        assert config.needs_behaviour
        with pytest.raises(OptionError, match="behaviour must be a policy class"):
            dataclasses.replace(config, behaviour=None).build(SPEC, SMALL, generators(SEEDS))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", REGULARIZERS)
def test_every_regularizer_trains_every_policy_class_it_can(name, policy):
    config, chosen = with_behaviour(name), small_config(policy)
    if config.needs_density and not issubclass(chosen.builds, TractablePolicy):
        with pytest.raises(AssertionError):
            trainer_with(config, chosen).update(make_batch(8), double_rng(SEEDS))
        return
    if (config.needs_reparameterised or not config.trains) and not chosen.reparameterised:
        # refused before training (tests/test_cross.py)
        return
    trainer = trainer_with(config, chosen, "none" if config.trains else "q-max")
    record = trainer.train(DATA, 5, double_rng(SEEDS))
    assert all(value.isfinite().all() and value.shape == (2,) for value in record.values())
    assert ("regularizer_own" in record) == config.needs_behaviour
    assert (record["actor_grad_norm"] > 0).all()


@pytest.mark.parametrize("name", ["mmd", "energy-distance", "kl", "score", "trust-region"])
def test_a_regularizer_with_parameters_keeps_replicas_apart(name):
    def parameters(seeds):
        config = with_behaviour(name)
        if name == "mmd":
            config = dataclasses.replace(config, multiplier="learned")
        trainer = trainer_with(config)
        trainer = Trainer(trainer.parts, trainer.config, SPEC, seeds, dtype=torch.float64)
        trainer.train(DATA, 5, double_rng(seeds))
        return [*trainer.policy.parameters(), *trainer.regularizer.parameters()]

    for alone, beside in zip(parameters((1,)), parameters((0, 1)), strict=True):
        torch.testing.assert_close(alone[0], beside[1], rtol=0, atol=1e-10)
