"""Policies that wrap another: what they add, what their gradients reach, and which bases they take."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import (
    POLICY_ALONE,
    SMALL,
    SPEC,
    TWO_MODES,
    cloned,
    double_rng,
    generators,
    make_dataset,
    make_trainer,
    small_config,
    two_mode_error,
)

from core.options import OptionError
from policies import POLICIES
from policies.cvae import CVAEConfig
from policies.diffusion import DiffusionConfig
from policies.distilled import DistilledConfig
from policies.flow import FlowConfig
from policies.gaussian import GaussianConfig
from policies.perturbed import PerturbedConfig

SEEDS = (0, 1)


def build(config):
    return config.build(SPEC, SMALL, generators(SEEDS)).double()


def accepted(config):
    """The policy classes that the configuration's own field says it takes, with their defaults."""
    (field,) = [field for field in dataclasses.fields(config) if "nested" in field.metadata]
    assert (field.name, field.metadata["nested"]) == ("base", "policy")
    return [name for name, other in POLICIES.items() if field.metadata["accepts"](other())]


def by_part(policy, loss):
    """Whether the gradient of the loss reaches each child of the policy: name -> set of answers of its parameters."""
    names = [name for name, _ in policy.named_parameters()]
    gradients = torch.autograd.grad(loss.sum(), list(policy.parameters()), allow_unused=True)
    reached: dict[str, set[bool]] = {}
    for name, gradient in zip(names, gradients, strict=True):
        reached.setdefault(name.split(".")[0], set()).add(gradient is not None and bool((gradient != 0).any()))
    return reached


def test_a_field_states_which_bases_it_takes():
    assert accepted(PerturbedConfig) == [name for name in POLICIES if name not in ("perturbed", "steered")]
    assert accepted(DistilledConfig) == ["edm", "sde", "flow", "shortcut", "mean-flow", "normalizing-flow"]
    (field,) = [field for field in dataclasses.fields(DistilledConfig) if "nested" in field.metadata]
    assert field.metadata["accepts"](DiffusionConfig(sampler="ddim"))


@pytest.mark.parametrize(
    ("config", "base"), [(DistilledConfig, GaussianConfig()), (PerturbedConfig, PerturbedConfig())]
)
def test_another_base_is_refused_in_one_line(config, base):
    with pytest.raises(OptionError, match=r"^base must be a policy class that ") as error:
        config(base=base)
    assert "\n" not in str(error.value)


def test_a_base_keeps_its_options():
    assert PerturbedConfig().base == CVAEConfig()
    policy = build(DistilledConfig(base=FlowConfig(steps=3)))
    assert (policy.base.steps, policy.base.forwards_per_action, policy.forwards_per_action) == (3, 3, 1)


@pytest.mark.parametrize("base", accepted(PerturbedConfig))
class TestPerturbed:
    @pytest.mark.parametrize("phi", [0.05, 0.5])
    def test_stays_within_phi_of_its_base(self, base, phi):
        policy = build(PerturbedConfig(base=small_config(base), phi=phi))
        with torch.no_grad():
            for parameter in policy.perturbation.parameters():
                parameter *= 30
        obs = double_rng(SEEDS).normal(200, SPEC.obs_dim)
        actions, of_base = policy.sample(obs, double_rng(SEEDS)), policy.base.sample(obs, double_rng(SEEDS))
        distance = (actions - of_base.clamp(-1, 1)).abs()
        assert distance.max() <= phi + 1e-12
        assert distance.max() > 0.9 * phi, "the bound is reached where the network is saturated"
        assert actions.abs().max() <= 1

    def test_samples_reach_the_perturbation_and_the_loss_the_base(self, base):
        policy, rng = build(PerturbedConfig(base=small_config(base))), double_rng(SEEDS)
        obs, act = rng.normal(20, SPEC.obs_dim), rng.normal(20, SPEC.act_dim).tanh()
        sampled = by_part(policy, policy.sample(obs, double_rng(SEEDS)).square())
        assert sampled == {"base": {False}, "perturbation": {True}}
        cloning = policy.bc_loss(obs, act, double_rng(SEEDS))
        assert torch.equal(cloning, policy.base.bc_loss(obs, act, double_rng(SEEDS)))
        assert by_part(policy, cloning)["perturbation"] == {False}


def trained(config, improvement):
    """Parameters before and after five steps, by child."""
    trainer = make_trainer(config, SEEDS, improvement=improvement, grad_norm=None)
    before = {name: p.detach().clone() for name, p in trainer.policy.named_parameters()}
    trainer.train(make_dataset(), 5, double_rng(SEEDS))
    return before, dict(trainer.policy.named_parameters())


def moved(before, after, child):
    return {not torch.equal(before[name], after[name]) for name in before if name.startswith(f"{child}.")}


def test_bcq_trains_the_perturbation_by_q_alone():
    assert moved(*trained(PerturbedConfig(), "none"), "perturbation") == {False}
    assert moved(*trained(PerturbedConfig(), "q-max"), "perturbation") == {True}


@pytest.mark.parametrize("config", [PerturbedConfig(), DistilledConfig()])
def test_q_leaves_the_base_as_its_own_loss_makes_it(config):
    """One step: the base's gradient, as Adam's first moment keeps it, is that of its own loss, bit for bit."""
    data = make_dataset()[torch.arange(16).view(2, 8)]
    moments = []
    for improvement in ("none", "q-max"):
        trainer = make_trainer(config, SEEDS, improvement=improvement, grad_norm=None)
        trainer.take(POLICY_ALONE, data, double_rng(SEEDS))
        moments.append([trainer.optimizers["policy"].state[p]["exp_avg"] for p in trainer.policy.base.parameters()])
    base = build(config.base)
    loss = base.bc_loss(data.obs, data.act, double_rng(SEEDS)).mean(-1).sum()
    own = torch.autograd.grad(loss, list(base.parameters()))
    for without, with_q, gradient in zip(*moments, own, strict=True):
        assert torch.equal(without, with_q)
        torch.testing.assert_close(with_q, 0.1 * gradient)


class TestDistilled:
    def draw(self):
        rng = double_rng(SEEDS)
        return rng.normal(20, SPEC.obs_dim), rng.normal(20, SPEC.act_dim).tanh()

    def test_loss_is_the_bases_and_alpha_times_the_distance_from_the_same_noise(self):
        policy, (obs, act) = build(DistilledConfig(alpha=7.0)), self.draw()
        again = double_rng(SEEDS, "evaluate")
        own = policy.base.bc_loss(obs, act, again)
        noise = again.normal(20, SPEC.act_dim)
        student = policy.student(torch.cat([obs, noise], dim=-1))
        expected = own + 7.0 * (student - policy.base.transport(obs, noise)).square().mean(-1)
        torch.testing.assert_close(policy.bc_loss(obs, act, double_rng(SEEDS, "evaluate")), expected)

    def test_samples_reach_the_student_and_distillation_takes_the_base_as_it_is(self):
        policy, (obs, _) = build(DistilledConfig()), self.draw()
        for loss in (policy.sample(obs, double_rng(SEEDS)).square(), policy.distillation(obs, double_rng(SEEDS))):
            assert by_part(policy, loss) == {"base": {False}, "student": {True}}

    def test_distillation_pulls_back_what_has_left_the_box(self):
        policy, (obs, _) = build(DistilledConfig()), self.draw()
        with torch.no_grad():
            policy.student.layers[-1].bias += 5
        actions = policy.sample(obs, double_rng(SEEDS))
        assert (actions == 1).all()
        assert by_part(policy, actions)["student"] == {False}
        (gradient,) = torch.autograd.grad(
            policy.distillation(obs, double_rng(SEEDS)).sum(), policy.student.layers[-1].bias
        )
        assert (gradient > 0).all()

    @pytest.mark.slow
    def test_recovers_a_density_of_two_modes_in_one_pass(self):
        """Half of what a Gaussian is off: one smooth pass has to jump between the modes."""
        distance, share = two_mode_error(cloned(DistilledConfig(), TWO_MODES, steps=1500))
        assert distance < 0.11
        assert share < 0.06
