"""Falling learning rates: against torch's own scheduler, in training, across a checkpoint, compiled and not."""

from __future__ import annotations

import pytest
import torch
from builders import double_rng, make_dataset, make_trainer, small_config

from ablations.plan.config import make_run
from ablations.plan.request import Request
from core import fusion
from trainers import checkpoint
from trainers.annealing import ANNEALINGS, as_released, cosine
from trainers.optim import ReplicaAdam

STEPS = 12


def scheduled(t_max: int, calls: int) -> list[float]:
    """The factors of torch's scheduler, before each of its steps and after the last."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, t_max, eta_min=0.0)
    factors = [optimizer.param_groups[0]["lr"]]
    for _ in range(calls):
        optimizer.step()
        scheduler.step()
        factors.append(optimizer.param_groups[0]["lr"])
    return factors


def test_cosine_is_torchs_stepped_once_a_step():
    factor = cosine(40)
    assert [factor(step) for step in range(41)] == pytest.approx(scheduled(40, 40), abs=1e-12)
    assert factor(0) == 1
    assert factor(50) == factor(40) == pytest.approx(0, abs=1e-15)


def test_as_released_steps_once_an_evaluation_and_counts_to_the_epochs():
    factor = as_released(2_000_000, 50_000)
    expected = scheduled(2000, 40)
    assert [factor(50_000 * block) for block in range(41)] == pytest.approx(expected, abs=1e-9)
    assert factor(49_999) == 1
    assert factor(2_000_000) == pytest.approx(0.999, abs=1e-4)


def annealed(**settings):
    trainer = make_trainer(small_config("diffusion"), (0, 1), lr=1e-2, critic_lr=2e-2, **settings)
    trainer.annealing = cosine(STEPS)
    return trainer


def test_training_takes_each_step_at_its_own_rate():
    data, ours = make_dataset(), annealed()
    ours.train(data, STEPS, double_rng((0, 1)))
    by_hand, rng = make_trainer(small_config("diffusion"), (0, 1), lr=1e-2, critic_lr=2e-2), double_rng((0, 1))
    for factor in scheduled(STEPS, STEPS)[:STEPS]:
        by_hand.optimizers["policy"].param_groups[0]["lr"] = 1e-2 * factor
        by_hand.optimizers["critic"].param_groups[0]["lr"] = 2e-2 * factor
        by_hand.update(data[rng.beside("batches").integers(len(data), 8)], rng)
    for module in ("policy", "critic", "target_policy"):
        for p, q in zip(getattr(ours, module).parameters(), getattr(by_hand, module).parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_a_resumed_run_goes_on_at_the_rate_it_had_reached(tmp_path):
    data, whole, rng = make_dataset(), annealed(), double_rng((0, 1))
    whole.train(data, STEPS, rng)
    first, rng = annealed(), double_rng((0, 1))
    first.train(data, 7, rng)
    checkpoint.save(tmp_path / "half.pt", first, rng)
    second, other = annealed(), double_rng((0, 1))
    checkpoint.load(tmp_path / "half.pt", second, other)
    second.train(data, STEPS - 7, other)
    for p, q in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(p, q)


def test_the_kernels_take_the_same_rates():
    trained = []
    for compiled in (False, True):
        try:
            fusion.fuse(compiled)
        except fusion.NoCompiler as error:
            pytest.skip(str(error))
        trainer = annealed()
        trainer.train(make_dataset(), STEPS, double_rng((0, 1)))
        trained.append(trainer)
    fusion.fuse(False)
    for p, q in zip(trained[0].policy.parameters(), trained[1].policy.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_a_rate_that_lives_on_the_device_is_set_in_place():
    optimizer = ReplicaAdam([torch.nn.Parameter(torch.zeros(1, 2))], 0.1)
    rate = torch.tensor(0.1)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.set_rate(0.025)
    assert optimizer.param_groups[0]["lr"] is rate
    assert rate.item() == pytest.approx(0.025)


def test_rates_stay_without_annealing():
    assert ANNEALINGS["none"](10, 5) is None
    trainer = make_trainer(small_config("gaussian"), (0,))
    trainer.train(make_dataset(), 3, double_rng((0,)))
    assert {o.param_groups[0]["lr"] for o in trainer.optimizers.values()} == {3e-4}


def test_the_release_decays_where_its_table_is_followed():
    def decay(**settings) -> str:
        return make_run(Request("hopper-medium-v2", preset="diffusion-ql", **settings)).budget.lr_decay

    assert decay() == "none"
    assert decay(as_released=True) == "as-released"
    assert decay(as_released=True, budget={"lr_decay": "cosine"}) == "cosine"


def test_the_mean_penalty_is_over_the_policys_steps_since_it_was_asked():
    data, trainer, rng = (
        make_dataset(),
        make_trainer(small_config("gaussian"), (0, 1), policy_every=2),
        double_rng((0, 1)),
    )
    assert trainer.mean_penalty() is None
    other, seen, twin = make_trainer(small_config("gaussian"), (0, 1), policy_every=2), [], double_rng((0, 1))
    for _ in range(9):
        record = other.update(data[twin.beside("batches").integers(len(data), 8)], twin)
        seen.append(record.get("regularizer"))
    trainer.train(data, 4, rng)
    torch.testing.assert_close(trainer.mean_penalty(), (seen[0] + seen[2]) / 2)
    trainer.train(data, 5, rng)
    torch.testing.assert_close(trainer.mean_penalty(), (seen[4] + seen[6] + seen[8]) / 3)
