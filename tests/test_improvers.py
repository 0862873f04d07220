"""Improvements with parameters of their own: seeds alone, going on where a run stood, who is moved by which loss."""

from __future__ import annotations

import pytest
import torch
from builders import POLICY_OF, double_rng, make_dataset, make_trainer, small_config

from trainers import IMPROVEMENTS, checkpoint

DATA = make_dataset()
LEARNING = [name for name, config in IMPROVEMENTS.items() if config.learns]


def trainer_of(name, seeds):
    return make_trainer(small_config(POLICY_OF.get(name, "diffusion")), seeds, name, tau=0.1)


def state(trainer, replica=slice(None)):
    modules = [*trainer.learners().values(), trainer.target_policy, trainer.target_critic]
    return [p[replica].detach().clone() for module in modules for p in module.parameters()]


@pytest.mark.parametrize("name", LEARNING)
def test_together_equals_alone(name):
    def trained(seeds):
        trainer = trainer_of(name, seeds)
        trainer.train(DATA, 5, double_rng(seeds))
        return trainer

    together = trained((0, 1))
    for replica, seed in enumerate((0, 1)):
        for a, b in zip(state(together, replica), state(trained((seed,)), 0), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", LEARNING)
def test_a_run_goes_on_bit_for_bit(name, tmp_path):
    whole, rng = trainer_of(name, (0, 1)), double_rng((0, 1))
    whole.train(DATA, 6, rng)
    first, drawn = trainer_of(name, (0, 1)), double_rng((0, 1))
    first.train(DATA, 3, drawn)
    checkpoint.save(tmp_path / "checkpoint.pt", first, drawn)
    second, other = trainer_of(name, (0, 1)), double_rng((0, 1))
    checkpoint.load(tmp_path / "checkpoint.pt", second, other)
    second.train(DATA, 3, other)
    assert all(torch.equal(a, b) for a, b in zip(state(whole), state(second), strict=True))


@pytest.mark.parametrize("name", LEARNING)
def test_its_own_loss_moves_its_own_parameters_and_the_bonus_the_policy(name):
    trainer, batch = trainer_of(name, (0, 1)), DATA[torch.arange(16).view(2, 8)]
    terms = trainer.improvement(trainer.policy, trainer.critics(), batch, double_rng((0, 1)))
    own, policy = [p for p in trainer.improvement.parameters() if p.requires_grad], list(trainer.policy.parameters())

    def reached(loss, parameters):
        gradients = torch.autograd.grad(loss.sum(), parameters, retain_graph=True, allow_unused=True)
        return [gradient is not None for gradient in gradients]

    assert terms.own.shape == terms.bonus.shape == terms.weight.shape == (2, 8)
    assert all(reached(terms.own, own))
    assert not any(reached(terms.own, policy))
    if terms.bonus.requires_grad:
        assert any(reached(terms.bonus, policy))
        assert not any(reached(terms.bonus, own))


@pytest.mark.parametrize("name", LEARNING)
def test_a_step_moves_all_of_it(name):
    trainer = trainer_of(name, (0, 1))
    before = [p.clone() for p in trainer.improvement.parameters()]
    record = trainer.train(DATA, 3, double_rng((0, 1)))
    assert record["improvement_own"].shape == (2,)
    assert all(not torch.equal(a, b) for a, b in zip(trainer.improvement.parameters(), before, strict=True))
