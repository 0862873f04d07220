"""The contract every policy class keeps, over the registry; and what is particular to some."""

from __future__ import annotations

import math

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_trainer, small_config

from core.networks import MLP
from core.rng import SeedRng, seed_generator
from core.types import Transitions
from policies import POLICIES, LatentPolicy, ModalPolicy, TractablePolicy, TransportPolicy, VelocityPolicy
from policies.gaussian import GaussianConfig

SEEDS = (0, 1)
S, B = 2, 6


def build(name, dtype=torch.float64):
    config = small_config(name) if isinstance(name, str) else name
    return config.build(SPEC, SMALL, generators(SEEDS)).to(dtype)


def draw():
    rng = double_rng(SEEDS, "evaluate")
    return rng.normal(B, SPEC.obs_dim), rng.normal(B, SPEC.act_dim).tanh()


@pytest.mark.parametrize("name", POLICIES)
class TestContract:
    def test_shapes(self, name):
        obs, act = draw()
        policy = build(name)
        assert policy.bc_loss(obs, act, double_rng(SEEDS)).shape == (S, B)
        assert policy.sample(obs, double_rng(SEEDS)).shape == (S, B, SPEC.act_dim)
        assert policy.bc_loss(obs, act, double_rng(SEEDS)).isfinite().all()

    def test_several_samples_are_those_of_the_observation_repeated(self, name):
        obs, _ = draw()
        policy, count = build(name), 3
        each = policy.sample_each(obs, count, double_rng(SEEDS))
        alone = policy.sample(obs.repeat_interleave(count, 1), double_rng(SEEDS))
        assert each.shape == (S, B, count, SPEC.act_dim)
        torch.testing.assert_close(each.flatten(1, 2), alone, rtol=1e-12, atol=1e-12)
        if not policy.reparameterised:
            return
        parameters = list(policy.parameters())
        gradients = [
            torch.autograd.grad(actions.square().sum(), parameters, allow_unused=True, materialize_grads=True)
            for actions in (each, alone)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)

    def test_the_dtype_and_device_of_the_observation_are_kept(self, name, device):
        policy = build(name, torch.float32).to(device)
        obs = torch.zeros(S, B, SPEC.obs_dim, device=device)
        action = policy.sample(obs, SeedRng(SEEDS, "train", device))
        assert (action.dtype, action.device.type) == (torch.float32, device.type)

    def test_samples_keep_the_bounds_the_class_states(self, name):
        policy = build(name)
        with torch.no_grad():
            for parameter in policy.parameters():
                parameter *= 30
        obs = 10 * double_rng(SEEDS).normal(500, SPEC.obs_dim)
        actions = policy.sample(obs, double_rng(SEEDS))
        assert policy.bounded
        assert actions.abs().max() <= 1

    def test_gradients_reach_every_parameter(self, name):
        policy = build(name)
        obs, act = draw()
        parameters = dict(policy.named_parameters())
        loss = policy.bc_loss(obs, act, double_rng(SEEDS)).sum()
        for gradient, key in zip(
            torch.autograd.grad(loss, list(parameters.values()), allow_unused=True), parameters, strict=True
        ):
            if key.split(".")[0] in policy.improvement_only:
                assert gradient is None
            else:
                assert (gradient.flatten(1).norm(dim=1) > 0).all()
        if policy.reparameterised:
            actions = policy.sample(obs, double_rng(SEEDS))
            gradients = torch.autograd.grad(actions.square().sum(), list(parameters.values()), allow_unused=True)
            reached = [g for g in gradients if g is not None]
            assert reached
            assert all((g != 0).any() for g in reached)
            by_name = dict(zip(parameters, gradients, strict=True))
            assert all(by_name[n] is not None for n in parameters if n.split(".")[0] in policy.improvement_only)

    def test_one_action_costs_the_passes_the_class_states(self, name, monkeypatch):
        passes, tail = [], MLP.tail
        monkeypatch.setattr(
            MLP, "tail", lambda net, first, *rest: passes.append(first.shape) or tail(net, first, *rest)
        )
        policy = build(name)
        policy.sample(draw()[0], double_rng(SEEDS))
        assert {shape[0] for shape in passes} == {S}
        assert sum(shape[1] for shape in passes) == B * policy.forwards_per_action

    def test_save_and_load_give_the_same_policy(self, name, tmp_path):
        policy, other = build(name), small_config(name).build(SPEC, SMALL, [seed_generator(9, "init")] * 2).double()
        obs, _ = draw()
        torch.save(policy.state_dict(), tmp_path / "policy.pt")
        assert not torch.equal(policy.sample(obs, double_rng(SEEDS)), other.sample(obs, double_rng(SEEDS)))
        other.load_state_dict(torch.load(tmp_path / "policy.pt", weights_only=True))
        assert torch.equal(policy.sample(obs, double_rng(SEEDS)), other.sample(obs, double_rng(SEEDS)))

    def test_behaviour_cloning_fits_one_point(self, name):
        point = torch.tensor([0.5, -0.3, 0.1])
        n = 64
        zeros = torch.zeros(n, SPEC.obs_dim)
        data = Transitions(zeros, point.expand(n, -1), torch.zeros(n), zeros, torch.zeros(n))
        trainer = make_trainer(
            small_config(name), SEEDS, improvement="none", dtype=torch.float32, batch=64, lr=1e-2, grad_norm=None
        )
        trainer.train(data, 600, SeedRng(SEEDS, "train"))
        with torch.no_grad():
            actions = trainer.policy.sample(torch.zeros(S, 200, SPEC.obs_dim), SeedRng(SEEDS, "evaluate"))
        assert (actions - point).abs().mean() < 0.12


class TestGaussian:
    @pytest.mark.parametrize("bound", ["tanh", "none"])
    def test_density_integrates_to_one(self, bound):
        policy = build(GaussianConfig(bound=bound))
        # one action dimension at a time: the density is a product, so fix the others and compare ratios
        edge = 1 - 1e-5 if bound == "tanh" else 12
        grid = torch.linspace(-edge, edge, 20001, dtype=torch.float64)
        obs = double_rng(SEEDS).normal(1, SPEC.obs_dim).expand(-1, len(grid), -1)
        spec_mean = policy.mode(obs)
        total = torch.zeros(2, dtype=torch.float64)
        for dim in range(SPEC.act_dim):
            act = spec_mean.clone()
            act[..., dim] = grid
            log = policy.log_prob(obs, act)
            total += torch.trapezoid(log.exp(), grid, dim=1).log()
        # the three one-dimensional integrals multiply to the density at the mode, squared
        at_mode = policy.log_prob(obs, spec_mean)[:, 0]
        torch.testing.assert_close(total, 2 * at_mode, rtol=0, atol=2e-3)

    def test_density_agrees_with_torch_distributions(self):
        obs, act = draw()
        policy = build(GaussianConfig(bound="tanh"))
        mean, log_std = policy.net(obs).chunk(2, dim=-1)
        base = torch.distributions.Normal(mean, log_std.exp())
        squashed = torch.distributions.TransformedDistribution(base, [torch.distributions.TanhTransform()])
        torch.testing.assert_close(policy.log_prob(obs, act), squashed.log_prob(act).sum(-1), rtol=1e-6, atol=1e-6)

    def test_unbounded_recovers_the_maximum_likelihood_fit(self):
        generator = torch.Generator().manual_seed(0)
        act = 0.4 + 0.2 * torch.randn(5000, 3, generator=generator)
        zeros = torch.zeros(5000, SPEC.obs_dim)
        data = Transitions(zeros, act, torch.zeros(5000), zeros, torch.zeros(5000))
        trainer = make_trainer(GaussianConfig(bound="none"), (0,), "none", torch.float32, batch=256, lr=3e-3)
        trainer.train(data, 600, SeedRng((0,), "train"))
        with torch.no_grad():
            samples = trainer.policy.sample(torch.zeros(1, 20000, SPEC.obs_dim), SeedRng((0,), "evaluate"))[0]
        torch.testing.assert_close(samples.mean(0), act.mean(0), rtol=0, atol=0.03)
        torch.testing.assert_close(samples.std(0), act.std(0), rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("capability", "names"),
    [
        (TractablePolicy, {"gaussian", "mixture", "normalizing-flow", "autoregressive"}),
        (ModalPolicy, {"gaussian", "mixture", "deterministic", "normalizing-flow", "autoregressive"}),
        (TransportPolicy, {"flow", "normalizing-flow", "shortcut", "mean-flow", "diffusion", "edm", "sde"}),
        (VelocityPolicy, {"flow"}),
        (LatentPolicy, {"steered"}),
    ],
)
def test_what_a_class_can_do_is_its_type(capability, names):
    assert {name for name in POLICIES if isinstance(build(name), capability)} == names


def test_cvae_latent_is_clipped_and_divergence_is_the_closed_form():
    policy = build("cvae")
    obs, act = draw()
    rng, again = double_rng(SEEDS), double_rng(SEEDS)
    latent = again.normal(B, policy.latent_dim).clamp(-0.5, 0.5)
    assert torch.equal(policy.sample(obs, rng), policy.decode(obs, latent))
    policy.kl_weight = 0.0
    without = policy.bc_loss(obs, act, double_rng(SEEDS))
    policy.kl_weight = 1.0
    divergence = policy.bc_loss(obs, act, double_rng(SEEDS)) - without
    mean, log_std = policy.encoder(torch.cat([obs, act], dim=-1)).chunk(2, dim=-1)
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(torch.distributions.Normal(mean, log_std.exp()), standard).mean(-1)
    torch.testing.assert_close(divergence, expected)
    assert math.isclose(policy.latent_clip, 0.5)
