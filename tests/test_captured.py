"""Steps through fixed memory are the steps as written, and none waits for the host. On a GPU: test_gpu.py."""

from __future__ import annotations

import pytest
import torch
from builders import improvement_of, make_dataset, make_trainer, small_config
from torch.utils._python_dispatch import TorchDispatchMode

from core.rng import SeedRng
from policies import POLICIES
from trainers.captured import CapturedSteps

SEEDS = (0, 1)
DELAYED = {"policy_every": 2, "tau_every": 3, "ema_every": 2, "ema_start": 3}
KEEPING = {**DELAYED, "ema_before": "keep"}
#: operations that look at a value on the host, bring one from there, or have a shape that depends on one
WAITING = {"_local_scalar_dense", "lift_fresh", "nonzero", "masked_select", "is_nonzero", "equal", "unique"}


def trained(name, through, steps=12, **settings):
    trainer = make_trainer(small_config(name), SEEDS, improvement_of(name), **settings)
    if through:
        trainer.taking = CapturedSteps(trainer)
    rng = SeedRng(SEEDS, "train", dtype=torch.float64)
    record = trainer.train(make_dataset(), steps, rng)
    modules = [m for m in (trainer.policy, trainer.critic, trainer.target_policy, trainer.target_critic) if m]
    return [p.detach() for m in modules for p in m.parameters()] + list(record.values()), rng.state_dict()


@pytest.mark.parametrize(
    "settings", [{}, DELAYED, KEEPING, {"bonus_start": 2, "bonus_ramp": 30}], ids=["plain", "late", "keep", "ramp"]
)
def test_fixed_memory_changes_nothing(settings):
    steps = 40 if "bonus_ramp" in settings else 12
    (plain, where), (fixed, there) = (trained("diffusion", through, steps, **settings) for through in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, fixed, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(where, there, strict=True))


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_class_can_be_prepared(name):
    plain, fixed = (trained(name, through)[0] for through in (False, True))
    assert all(torch.equal(a, b) for a, b in zip(plain, fixed, strict=True))


class Watched(TorchDispatchMode):
    """Notes the operations that a recording could not hold."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket._qualified_op_name.split("::")[-1]
        if name in WAITING:
            self.seen.add(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", POLICIES)
def test_no_step_waits_for_the_host(name):
    trainer, data = make_trainer(small_config(name), SEEDS, improvement_of(name)), make_dataset()
    rng = SeedRng(SEEDS, "train", dtype=torch.float64)
    steps = CapturedSteps(trainer)
    trainer.taking = steps
    trainer.train(data, 4, rng)
    kind = steps._kinds[trainer.due()]
    kind.rng.refill()
    with Watched() as watched:
        trainer.take(trainer.due(), data[rng.integers(len(data), 8)], kind.rng)
    assert not watched.seen


def test_the_watch_sees():
    with Watched() as watched:
        torch.ones(2).sum().item()
    assert watched.seen == {"_local_scalar_dense"}
