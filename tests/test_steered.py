"""The steered policy and the critic of latents: latents' density, whose gradients, what Q_z learns, and what steers."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_batch, make_trainer
from torch import nn

from core import fusion
from core.networks import NetworkConfig
from core.options import OptionError
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from critics import Critics
from policies.diffusion import DiffusionConfig
from policies.distilled import DistilledConfig
from policies.edm import EDMConfig
from policies.flow import FlowConfig
from policies.gaussian import GaussianConfig
from policies.sde import SDEConfig
from policies.shortcut import ShortcutConfig
from policies.steered import SteeredConfig
from trainers.latent import LatentQ
from trainers.optim import ReplicaAdam, stepped
from trainers.temperature import Temperature

SEEDS = (0, 1)
BASES = {
    "flow": FlowConfig(steps=3),
    "shortcut": ShortcutConfig(steps=2),
    "ddim": DiffusionConfig(T=5, sampler="ddim"),
    "dpm++": DiffusionConfig(T=5, sampler="dpm++2m"),
    "edm": EDMConfig(sample_steps=3),
    "euler": EDMConfig(sample_steps=3, sampler="euler"),
    "sde": SDEConfig(sample_steps=3),
}


def build(config):
    return config.build(SPEC, SMALL, generators(SEEDS)).double()


@pytest.mark.parametrize("name", BASES)
def test_an_action_is_the_bases_for_the_chosen_noise(name):
    """And a sample of the base is its transport of the noise that it draws."""
    policy, obs = build(SteeredConfig(base=BASES[name])), double_rng(SEEDS).normal(4, SPEC.obs_dim)
    latent, _ = policy.latent(obs, double_rng(SEEDS))
    assert torch.equal(policy.sample(obs, double_rng(SEEDS)), policy.base.transport(obs, latent))
    drawn = double_rng(SEEDS).normal(1, 4, SPEC.act_dim)[:, 0]
    assert torch.equal(policy.base.sample(obs, double_rng(SEEDS)), policy.base.transport(obs, drawn))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("name", [name for name in BASES if name != "sde"])
def test_the_gradient_through_the_base_is_that_in_its_noise(name, fused):
    """By differences; the fused chains have no gradient in their noise and must not be taken."""
    policy, obs = build(SteeredConfig(base=BASES[name])), double_rng(SEEDS).normal(4, SPEC.obs_dim)
    latent = 0.3 * double_rng(SEEDS).normal(4, SPEC.act_dim)
    fusion.fuse(fused)
    try:
        leaf = latent.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(policy.decode(obs, leaf).square().sum(), leaf)
    finally:
        fusion.fuse(False)
    step = 1e-6 * double_rng(SEEDS, "evaluate").normal(4, SPEC.act_dim)
    with torch.no_grad():
        change = policy.decode(obs, latent + step).square().sum() - policy.decode(obs, latent - step).square().sum()
    torch.testing.assert_close((2 * gradient * step).sum(), change, rtol=1e-4, atol=1e-12)


def test_the_density_of_the_latents_integrates_to_one_and_is_that_of_a_squashed_gaussian():
    policy, obs = build(SteeredConfig(scale=0.7)), double_rng(SEEDS).normal(500, SPEC.obs_dim)
    latent, log_prob = policy.latent(obs, double_rng(SEEDS))
    assert latent.abs().max() <= 0.7
    mean, log_std = policy.actor(obs).chunk(2, -1)
    normal = torch.distributions.Normal(mean, log_std.exp())
    tanh = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform()])
    torch.testing.assert_close(log_prob, tanh.log_prob(latent / 0.7).sum(-1), rtol=1e-6, atol=1e-6)


def test_with_latents_of_the_average_actions_are_those_of_the_averages_base():
    trainer = make_trainer(SteeredConfig(base=FlowConfig(steps=3), latents_of="average"), SEEDS, ema_start=0)
    obs, latent = double_rng(SEEDS).normal(4, SPEC.obs_dim), double_rng(SEEDS).normal(4, SPEC.act_dim)
    with torch.no_grad():
        for p in trainer.target_policy.parameters():
            p += 0.05
    expected = trainer.target_policy.base.transport(obs, latent)
    assert torch.equal(trainer.policy.decode(obs, latent), expected)
    assert torch.equal(trainer.target_policy.decode(obs, latent), expected)
    assert not torch.equal(trainer.policy.base.transport(obs, latent), expected)


@pytest.mark.parametrize("build_it", [SteeredConfig, DistilledConfig])
@pytest.mark.parametrize("base", [DiffusionConfig(), EDMConfig(churn=1.0), GaussianConfig()])
def test_a_base_that_draws_noise_on_its_way_is_refused(build_it, base):
    with pytest.raises(OptionError, match="base must be a policy class that transports noise deterministically"):
        build_it(base=base)


class Heads(nn.Module):
    """Two heads of an action, (k + 1) sum(a) - |a|^2."""

    def forward(self, obs, act):
        return torch.stack([(k + 1) * act.sum(-1) - act.square().sum(-1) for k in range(2)], dim=1)


@pytest.mark.parametrize("heads", [2, 3])
def test_the_losses_are_their_definitions(heads):
    policy, batch = build(SteeredConfig(base=FlowConfig(steps=3), scale=0.8)), make_batch()
    improver = LatentQ(heads=heads, entropy=-0.25).build(SPEC, SMALL, generators(SEEDS)).double()
    with torch.no_grad():
        improver.temperature.log_alpha.copy_(torch.tensor([[0.3], [-0.2]]))
    terms = improver(policy, Critics(Heads(), nn.Identity()), batch, double_rng(SEEDS))
    rng = double_rng(SEEDS)
    latent, log_prob = policy.latent(batch.obs, rng)
    alpha = torch.tensor([[0.3], [-0.2]]).double().exp()
    torch.testing.assert_close(terms.bonus, alpha * log_prob - improver.critic(batch.obs, latent).mean(1))
    drawn = rng.normal(5, SPEC.act_dim)
    target = Heads()(batch.obs, policy.base.transport(batch.obs, drawn))
    target = target if heads == 2 else target.mean(1, keepdim=True)
    error = (improver.critic(batch.obs, drawn) - target).square().mean(1)
    torch.testing.assert_close(terms.own, error + alpha * (-log_prob - -0.75))
    actor, base = list(policy.actor.parameters()), list(policy.base.parameters())
    assert all(g is not None for g in torch.autograd.grad(terms.bonus.sum(), actor, retain_graph=True))
    assert not any(
        g is not None for g in torch.autograd.grad(terms.bonus.sum(), base, allow_unused=True, retain_graph=True)
    )


def test_the_temperature_rises_where_the_entropy_is_too_low_and_falls_where_it_is_too_high():
    temperature = Temperature(2, -0.5, 4)
    entropy = torch.tensor([[-3.0], [-1.0]])
    ReplicaAdam(temperature.parameters(), 0.1).descend(temperature.loss(-entropy).mean(-1), None)
    assert temperature()[0] > 1 > temperature()[1]


@pytest.mark.slow
def test_the_actor_finds_the_latent_of_the_best_action_a_fixed_base_gives():
    """Base: a = z where it is in the box (a velocity of 0). Q is largest at 0.4, which the actor's mode comes to."""
    spec, network = TaskSpec("line", 1, 1), NetworkConfig(hidden=16, depth=1)
    policy = SteeredConfig(base=FlowConfig(steps=1)).build(spec, network, generators((0,)))
    improver = LatentQ(entropy=-2.0).build(spec, network, generators((1,)))
    with torch.no_grad():
        for p in policy.base.parameters():
            p.zero_()

    class Peak(nn.Module):
        def forward(self, obs, act):
            return -4 * (act - 0.4).square().sum(-1)[:, None]

    zeros = torch.zeros(1, 64, 1)
    batch = Transitions(zeros, zeros, zeros[..., 0], zeros, zeros[..., 0])
    rng = SeedRng((0,), "train")
    optimizers = ReplicaAdam(policy.actor.parameters(), 2e-2), ReplicaAdam(stepped(improver), 2e-2)
    for _ in range(300):
        terms = improver(policy, Critics(Peak(), nn.Identity()), batch, rng)
        optimizers[0].descend(terms.bonus.mean(-1), None)
        optimizers[1].descend(terms.own.mean(-1), None)
    with torch.no_grad():
        actions = policy.sample(torch.zeros(1, 500, 1), SeedRng((0,), "evaluate"))
    assert abs(actions.mean() - 0.4) < 0.1
    assert actions.std() < 0.2
