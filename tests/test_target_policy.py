"""Where the target policy is at each step: a copy before `ema_start` (as released its start), then an average."""

from __future__ import annotations

import copy

import pytest
import torch
from builders import double_rng, make_dataset, make_trainer, small_config

from trainers import TrainerConfig
from trainers.captured import CapturedSteps

SEEDS = (0, 1)
STEPS = 14


def parameters(module):
    return [p.detach().clone() for p in module.parameters()]


def history(steps=STEPS, captured=False, **settings):
    """The start, then policy and target policy after each step."""
    trainer = make_trainer(small_config("gaussian"), SEEDS, **{"ema_every": 1, **settings})
    if captured:
        trainer.taking = CapturedSteps(trainer)
    start, rng, data, seen = parameters(trainer.target_policy), double_rng(SEEDS), make_dataset(), []
    for _ in range(steps):
        trainer.train(data, 1, rng)
        seen.append((parameters(trainer.policy), parameters(trainer.target_policy)))
    return start, seen


def equal(some, others):
    return all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def averaged(start, policies, decay):
    """The average written out: target <- decay * target + (1 - decay) * policy."""
    target = copy.deepcopy(start)
    for policy in policies:
        target = [decay * t + (1 - decay) * p for t, p in zip(target, policy, strict=True)]
    return target


@pytest.mark.parametrize("captured", [False, True], ids=["plain", "captured"])
def test_it_follows_the_policy_until_its_average_begins(captured):
    _, seen = history(captured=captured, ema_start=6, ema_decay=0.9)
    for policy, target in seen[:6]:
        assert equal(policy, target)
    policies = [policy for policy, _ in seen]
    for step in range(6, STEPS):
        by_hand = averaged(policies[5], policies[6 : step + 1], 0.9)
        torch.testing.assert_close(seen[step][1], by_hand, rtol=1e-12, atol=1e-15)


def test_as_released_it_keeps_its_start():
    start, seen = history(ema_start=6, ema_decay=0.9, ema_before="keep")
    assert all(equal(start, target) for _, target in seen[:6])
    torch.testing.assert_close(seen[-1][1], averaged(start, [p for p, _ in seen[6:]], 0.9), rtol=1e-12, atol=1e-15)


def test_both_ways_move_it_every_so_many_steps():
    _, seen = history(ema_start=7, ema_every=3)
    for step in range(STEPS):
        moved = step == 0 or not equal(seen[step - 1][1], seen[step][1])
        assert moved == (step % 3 == 0)
    assert equal(seen[6][0], seen[8][1])


def test_a_run_without_an_average_never_asks_a_stale_policy():
    """The gravest: a run shorter than `ema_start` used to value its random start, and no other, throughout."""
    start, seen = history(ema_start=TrainerConfig().ema_start)
    assert equal(*seen[-1])
    assert not equal(start, seen[-1][1])
