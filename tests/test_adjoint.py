"""Adjoint matching: the lean adjoint against Jacobians and autograd, its optimum where that is known, its limits."""

from __future__ import annotations

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_batch
from torch import nn

from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import TaskSpec, Transitions
from critics import Critics
from policies.base import VelocityPolicy
from policies.flow import FlowConfig
from trainers.adjoint import AdjointImprover, AdjointMatching, lean_adjoints, matching, memoryless_path
from trainers.optim import ReplicaAdam, stepped

SEEDS = (0, 1)


def flow(seeds=SEEDS, steps=4):
    return FlowConfig(steps=steps).build(SPEC, SMALL, generators(seeds)).double()


class Linear(VelocityPolicy):
    """The velocity of a Gaussian N(mean, deviation^2) in each dimension, which is linear in x."""

    def __init__(self, mean, deviation, steps):
        super().__init__()
        self.mean, self.deviation, self.steps = mean, deviation, steps

    def velocity(self, x, t, obs):
        t = t[..., None]
        slope = (t * self.deviation**2 - (1 - t)) / ((1 - t) ** 2 + (t * self.deviation) ** 2)
        return self.mean + slope * (x - t * self.mean)

    def bc_loss(self, obs, act, rng):
        raise NotImplementedError

    def sample(self, obs, rng):
        raise NotImplementedError

    def transport(self, obs, noise):
        raise NotImplementedError


class Quadratic(nn.Module):
    """Two heads -(a - centre)^2 / (2 width^2), summed over dimensions, apart by a constant."""

    def __init__(self, centre, width):
        super().__init__()
        self.centre, self.width = centre, width

    def forward(self, obs, act):
        value = -(act - self.centre).square().sum(-1) / (2 * self.width**2)
        return torch.stack([value, value + 1], dim=1)


def test_the_lean_adjoint_is_the_product_of_the_behaviours_jacobians():
    behaviour, policy, obs = flow(), flow((5, 6)), double_rng(SEEDS).normal(3, SPEC.obs_dim)
    noise, last = double_rng(SEEDS).normal(4, 3, SPEC.act_dim), double_rng((7, 8)).normal(3, SPEC.act_dim)
    with torch.no_grad():
        path = memoryless_path(policy, behaviour, obs, noise)
        adjoints = lean_adjoints(behaviour, obs, path, last)
    for seed in range(2):
        for row in range(3):
            expected = last[seed, row]
            for step in reversed(range(4)):
                t = (step + 1) / 4

                def drift(x, seed=seed, row=row, t=t):
                    inputs = torch.cat([x, torch.tensor([t], dtype=torch.float64), obs[seed, row]])
                    for layer in behaviour.net.layers[:-1]:
                        inputs = nn.functional.mish(inputs @ layer.weight[seed] + layer.bias[seed])
                    return 2 * (inputs @ behaviour.net.layers[-1].weight[seed]) - x / t

                jacobian = torch.func.jacrev(drift)(path[step][seed, row])
                expected = expected + 0.25 * jacobian.T @ expected
                torch.testing.assert_close(adjoints[step][seed, row], expected)


def test_of_a_linear_flow_it_is_the_gradient_through_the_solver():
    """The behaviour's own deterministic steps, at t_{i+1} as released, from each point on."""
    behaviour, critic = Linear(0.3, 0.5, 6), Quadratic(0.7, 0.4)
    obs, start = torch.zeros(1, 5, 1).double(), double_rng((0,)).normal(5, 2)

    def ahead(x, first):
        for step in range(first, 6):
            t = (step + 1) / 6
            x = x + (2 * behaviour.velocity(x, torch.full_like(x[..., 0], t), obs) - x / t) / 6
        return x

    path = [ahead(start, 6)]
    with torch.no_grad():
        for step in range(6):
            t = (step + 1) / 6
            v = behaviour.velocity(path[-1], torch.full_like(start[..., 0], t), obs)
            path.append(path[-1] + (2 * v - path[-1] / t) / 6)
    slope = AdjointImprover(AdjointMatching(eta=2.0, clip=False), Linear(0.0, 1.0, 6))._slope(critic, obs, path[-1])
    for step, adjoint in enumerate(lean_adjoints(behaviour, obs, path, -2.0 * slope)):
        leaf = path[step].requires_grad_()
        (expected,) = torch.autograd.grad(-2.0 * critic(obs, ahead(leaf, step)).mean(1).sum(), leaf)
        torch.testing.assert_close(adjoint, expected)


def test_its_optimum_is_the_behaviour_times_exp_eta_q():
    """A Gaussian behaviour and a quadratic Q: at the velocity of the tilted Gaussian the loss asks for no change.

    What is asked for, 2 (v - v_b) / sigma + sigma g, is regressed on x at some times: a constant and a slope of 0.
    """
    mean, deviation, centre, width, eta, steps, rows = 0.1, 0.5, 0.4, 0.6, 1.5, 200, 4000
    precision = deviation**-2 + eta * width**-2
    tilted_mean = (mean * deviation**-2 + eta * centre * width**-2) / precision
    obs, noise = torch.zeros(1, rows, 1).double(), double_rng((0,)).normal(steps, rows, 1)
    behaviour, errors = Linear(mean, deviation, steps), {}
    improver = AdjointImprover(AdjointMatching(eta=eta, clip=False), Linear(0.0, 1.0, steps))
    for name, policy in (("tilted", Linear(tilted_mean, precision**-0.5, steps)), ("behaviour", behaviour)):
        path = memoryless_path(policy, behaviour, obs, noise)
        slope = improver._slope(Quadratic(centre, width), obs, path[-1])
        adjoints = lean_adjoints(behaviour, obs, path, -eta * slope)
        if name == "tilted":
            assert abs(path[-1].mean() - tilted_mean) < 0.02
            assert abs(path[-1].std() / precision**-0.5 - 1) < 0.03
        errors[name] = 0.0
        for step in (40, 100, 160):
            x, t = path[step][0], torch.full((1, rows), step / steps).double()
            sigma2 = 2 * (steps - step + 1) / (step + 1)
            asked = policy.velocity(path[step], t, obs) - behaviour.velocity(path[step], t, obs)
            asked = asked[0] + sigma2 / 2 * adjoints[step][0]
            found = torch.linalg.lstsq(torch.cat([torch.ones_like(x), (x - x.mean()) / x.std()], 1), asked).solution
            errors[name] = max(errors[name], found.abs().max().item())
    assert errors["tilted"] < 0.03
    assert errors["behaviour"] > 0.3


def improver(seeds=SEEDS, **options):
    return AdjointMatching(behaviour=FlowConfig(steps=4), **options).build(SPEC, SMALL, generators(seeds)).double()


@pytest.mark.parametrize("form", ["lean", "backprop"])
def test_without_q_the_behaviour_is_the_optimum(form):
    """eta = 0: nothing is asked of a policy that is the behaviour, and of another to become it."""
    ours, batch, critic = improver(eta=0.0, form=form), make_batch(), Critics(Quadratic(0.0, 1.0), Quadratic(0.0, 1.0))
    same = ours(ours.average, critic, batch, double_rng(SEEDS)).bonus
    other = ours(flow((5, 6)), critic, batch, double_rng(SEEDS)).bonus
    assert torch.equal(same, torch.zeros_like(same))
    assert (other > 0).all()


def test_the_bonus_is_the_sum_of_squares_of_what_is_asked():
    ours, policy, batch, critic = improver(eta=3.0), flow((5, 6)), make_batch(), Quadratic(0.5, 0.3)
    bonus = ours(policy, Critics(critic, critic), batch, double_rng(SEEDS)).bonus
    rng = double_rng(SEEDS)
    ours.behaviour.bc_loss(batch.obs, batch.act, rng)
    path = memoryless_path(policy, ours.average, batch.obs, rng.normal(4, 5, 3))
    inside = path[-1].abs() <= 1
    adjoint, expected = 3.0 * (path[-1].clamp(-1, 1) - 0.5) / 0.3**2 * inside, 0.0
    for step, g in enumerate(lean_adjoints(ours.average, batch.obs, path, adjoint)):
        t = torch.full((2, 5), step / 4).double()
        sigma = (2 * (1 - step / 4 + 0.25) / (step / 4 + 0.25)) ** 0.5
        control = policy.velocity(path[step], t, batch.obs) - ours.average.velocity(path[step], t, batch.obs)
        expected = expected + (2 * control / sigma + sigma * g).square().sum(-1)
    torch.testing.assert_close(bonus, expected)
    # held fixed: only the policy's velocity at the points of the path has a gradient
    points, adjoints = torch.stack(path[:-1], 1), torch.stack(lean_adjoints(ours.average, batch.obs, path, adjoint), 1)
    again = matching(policy, ours.average, batch.obs, points.detach(), adjoints.detach())
    parameters = list(policy.parameters())
    gradients = [torch.autograd.grad(value.sum(), parameters) for value in (bonus, again)]
    torch.testing.assert_close(*gradients)


def test_the_average_follows_the_behaviour_at_its_rate():
    ours = improver()
    before = [p.clone() for p in ours.average.parameters()]
    with torch.no_grad():
        for p in ours.behaviour.parameters():
            p += 1
    ours.move_averages(0.25)
    assert all(torch.allclose(p, b + 0.25) for p, b in zip(ours.average.parameters(), before, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(("form", "eta"), [("lean", 1.0), ("backprop", 10.0)])
def test_trained_networks_go_to_the_tilted_gaussian(form, eta):
    """Behaviour N(0, 0.3^2), Q = -(a - 0.5)^2 / (2 0.3^2): the optimum is N(0.25, 0.21^2), but for ten steps' error."""
    spec, network, critic = TaskSpec("line", 1, 1), NetworkConfig(hidden=32, depth=2), Quadratic(0.5, 0.3)
    ours = AdjointMatching(eta=eta, form=form, clip=False, behaviour=FlowConfig()).build(
        spec, network, generators((0,))
    )
    policy = FlowConfig().build(spec, network, generators((1,)))
    optimizers = ReplicaAdam(stepped(ours), 3e-3), ReplicaAdam(policy.parameters(), 3e-3)
    rng, zeros = SeedRng((0,), "train"), torch.zeros(1, 128, 1)
    for step in range(1200):
        batch = Transitions(zeros, 0.3 * rng.normal(128, 1), zeros[..., 0], zeros, zeros[..., 0])
        terms = ours(policy, Critics(critic, critic), batch, rng)
        optimizers[0].descend(terms.own.mean(-1), None)
        optimizers[1].descend(terms.bonus.mean(-1), 1.0)
        ours.move_averages(0.02)
        if step == 800:
            for optimizer in optimizers:
                optimizer.set_rate(3e-4)
    with torch.no_grad():
        samples = policy.sample(torch.zeros(1, 4000, 1), SeedRng((0,), "evaluate"))
    assert abs(samples.mean() - 0.25) < 0.06
    assert 0.1 < samples.std() < 0.25
