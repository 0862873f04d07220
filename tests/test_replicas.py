"""Replicas are independent, randomness is an argument, and a run does not depend on its companions."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from builders import POLICY_ALONE, double_rng, generators, make_dataset, make_trainer, small_config
from torch import nn

from core.networks import Linear
from core.rng import SeedRng, seed_generator
from policies import POLICIES
from trainers import checkpoint
from trainers.optim import clip_per_replica, grad_norms

DATA = make_dataset()


def parameters_of(trainer, replica):
    modules = [trainer.policy, trainer.critic, trainer.target_critic, trainer.target_policy]
    return [p[replica].detach().clone() for module in modules for p in module.parameters()]


def one_update(trainer, seeds, perturb_batch=None):
    """One update; returns the parameters' change for each replica through its first Adam moment."""
    rng = double_rng(seeds)
    batch = DATA[rng.integers(len(DATA), 8)]
    if perturb_batch is not None:
        batch.act[perturb_batch] += 0.1
        batch.reward[perturb_batch] -= 3
    trainer.update(batch, rng)
    optimizers = trainer.optimizers.values()
    return [o.state[p]["exp_avg"] for o in optimizers for group in o.param_groups for p in group["params"]]


@pytest.mark.parametrize("name", POLICIES)
def test_perturbing_one_replica_leaves_the_others_gradients_bit_identical(name):
    seeds = (0, 1, 2)
    plain = one_update(make_trainer(small_config(name), seeds), seeds)
    with_batch = one_update(make_trainer(small_config(name), seeds), seeds, perturb_batch=1)
    trainer = make_trainer(small_config(name), seeds)
    with torch.no_grad():
        for p in [*trainer.policy.parameters(), *trainer.critic.parameters()]:
            p[1] += 0.05
    with_weights = one_update(trainer, seeds)
    for changed in (with_batch, with_weights):
        assert all(torch.equal(a[[0, 2]], b[[0, 2]]) for a, b in zip(plain, changed, strict=True))
        assert any(not torch.equal(a[1], b[1]) for a, b in zip(plain, changed, strict=True))


@pytest.mark.parametrize("name", POLICIES)
def test_together_equals_alone_and_order_does_not_matter(name):
    def trained(seeds):
        trainer = make_trainer(small_config(name), seeds)
        trainer.train(DATA, 50, double_rng(seeds))
        return trainer

    together, permuted = trained((0, 1, 2)), trained((2, 0, 1))
    for replica, seed in enumerate((0, 1, 2)):
        reference = parameters_of(together, replica)
        for other in (parameters_of(trained((seed,)), 0), parameters_of(permuted, (2, 0, 1).index(seed))):
            for a, b in zip(reference, other, strict=True):
                torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def global_states():
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # noqa: NPY002


@pytest.mark.parametrize("name", POLICIES)
def test_building_and_training_leave_global_generators_alone(name):
    before = global_states()
    trainer = make_trainer(small_config(name), (0, 1))
    trainer.train(DATA, 2, double_rng((0, 1)))
    assert global_states() == before


def test_initialisation_is_that_of_nn_linear():
    layer = Linear((2, 3), 7, 5, generators((4, 9)))
    for replica, seed in enumerate((4, 9)):
        with torch.random.fork_rng():
            torch.set_rng_state(seed_generator(seed, "init").get_state())
            for head in range(3):
                single = nn.Linear(7, 5)
                assert torch.equal(layer.weight[replica, head].T, single.weight)
                assert torch.equal(layer.bias[replica, head], single.bias)


def test_linear_is_linear_of_each_replica():
    layer = Linear((2, 3), 7, 5, generators((0, 1)))
    x = torch.randn(2, 3, 4, 7, generator=torch.Generator().manual_seed(0))
    for s in range(2):
        for k in range(3):
            torch.testing.assert_close(layer(x)[s, k], x[s, k] @ layer.weight[s, k] + layer.bias[s, k])


def test_a_seed_draws_the_same_stream_whoever_is_beside_it():
    alone, beside = SeedRng((3,), "train"), SeedRng((0, 3), "train")
    for draw in (lambda r: r.normal(4, 2), lambda r: r.uniform(), lambda r: r.integers(10, 6)):
        assert torch.equal(draw(alone)[0], draw(beside)[1])
    assert not torch.equal(SeedRng((3,), "train").normal(5), SeedRng((3,), "evaluate").normal(5))


def test_clipping_is_per_replica_and_as_torch_clips():
    g = torch.Generator().manual_seed(0)
    grads = [
        torch.randn(2, 3, 4, generator=g, dtype=torch.float64),
        torch.randn(2, 5, generator=g, dtype=torch.float64),
    ]
    grads = [grad * torch.tensor([10.0, 0.01]).view(2, *[1] * (grad.dim() - 1)) for grad in grads]
    clipped = clip_per_replica(grads, grad_norms(grads), 1.0)
    for replica in range(2):
        parameters = [nn.Parameter(torch.zeros_like(grad[replica])) for grad in grads]
        for parameter, grad in zip(parameters, grads, strict=True):
            parameter.grad = grad[replica].clone()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for parameter, ours in zip(parameters, clipped, strict=True):
            torch.testing.assert_close(ours[replica], parameter.grad)


def test_training_resumed_from_a_checkpoint_is_training_not_interrupted(tmp_path):
    whole, whole_rng = make_trainer(small_config("diffusion"), (0, 1)), double_rng((0, 1))
    whole.train(DATA, 10, whole_rng)
    first, rng = make_trainer(small_config("diffusion"), (0, 1)), double_rng((0, 1))
    first.train(DATA, 5, rng)
    checkpoint.save(tmp_path / "checkpoint.pt", first, rng)
    second, other_rng = make_trainer(small_config("diffusion"), (5, 6)), double_rng((5, 6))
    checkpoint.load(tmp_path / "checkpoint.pt", second, other_rng)
    second.train(DATA, 5, other_rng)
    assert second.step == 10
    for replica in range(2):
        for a, b in zip(parameters_of(whole, replica), parameters_of(second, replica), strict=True):
            assert torch.equal(a, b)


def test_bc_only_builds_no_critic():
    trainer = make_trainer(small_config("cvae"), (0,), improvement="none")
    assert trainer.critic is None
    assert trainer.target_policy is None
    assert (
        trainer.update(DATA[torch.zeros(1, 8, dtype=torch.long)], double_rng((0,))).keys().isdisjoint({"critic_loss"})
    )


def test_eta_zero_is_behaviour_cloning():
    from trainers.improvements import QMax

    bc, q = (
        make_trainer(small_config("gaussian"), (0,), improvement="none"),
        make_trainer(small_config("gaussian"), (0,)),
    )
    q.improvement = QMax(eta=0.0)
    batch = DATA[torch.arange(8)[None]]
    bc.take(POLICY_ALONE, batch, double_rng((0,)))
    q.take(POLICY_ALONE, batch, double_rng((0,)))
    for a, b in zip(bc.policy.parameters(), q.policy.parameters(), strict=True):
        assert torch.equal(a, b)


def test_an_actor_step_leaves_the_critic_alone():
    trainer = make_trainer(small_config("diffusion"), (0, 1))
    before = [p.clone() for p in trainer.critic.parameters()]
    trainer.take(POLICY_ALONE, DATA[torch.arange(16).view(2, 8)], double_rng((0, 1)))
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.critic.parameters(), strict=True))
    assert all(p.grad is None for p in trainer.critic.parameters())


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "gaussian"])
def test_every_policy_class_meets_the_same_critic_and_the_same_batches(policy):
    started, drawn = [], []
    for name in ("gaussian", policy):
        trainer, rng = make_trainer(small_config(name), (0, 1)), double_rng((0, 1))
        started.append([p.clone() for p in trainer.critic.parameters()])
        trainer.train(DATA, 3, rng)
        drawn.append(rng.beside("batches").integers(1000, 20))
    assert all(torch.equal(a, b) for a, b in zip(*started, strict=True))
    assert torch.equal(*drawn)


def test_a_critic_beside_leaves_cloning_as_it_is():
    alone, beside = (make_trainer(small_config("diffusion"), (0, 1), "none") for _ in range(2))
    with_critic = make_trainer(small_config("diffusion"), (0, 1))
    beside.critic, beside.target_critic = with_critic.critic, with_critic.target_critic
    beside.target_policy, beside.backup = with_critic.target_policy, with_critic.backup
    beside.optimizers["critic"] = with_critic.optimizers["critic"]
    for trainer in (alone, beside):
        trainer.train(DATA, 5, double_rng((0, 1)))
    assert all(torch.equal(a, b) for a, b in zip(alone.policy.parameters(), beside.policy.parameters(), strict=True))
