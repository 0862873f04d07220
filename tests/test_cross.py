"""Every policy class with every regularizer, improvement, backup and selection: each trains, or says why it cannot."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from builders import SPEC, make_dataset
from torch import Tensor

from ablations.plan.capabilities import refusal
from ablations.plan.parts import CHOICES, build_part
from ablations.plan.views import View
from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import Transitions
from critics import CriticConfig
from policies import POLICIES, Policy
from trainers import SELECTIONS, Trainer, TrainerConfig
from trainers.trainer import Parts

TINY = NetworkConfig(hidden=5, depth=1)
CONFIG = TrainerConfig(batch=6, ema_start=0, ema_every=1, lr=1e-2, critic_lr=1e-2)
OPTIONS = {"policy.T": 3, "policy.sample_steps": 3, "policy.steps": 2, "policy.time_dim": 4, "policy.levels": 4,
           "policy.candidates": 4, "policy.negatives": 4}  # fmt: skip
#: options under which a part asks the most of the others
DEMANDING = {"regularizer.samples": 2, "backup.samples": 2, "improvement.samples": 2}
SEEDS = (0, 1)
VIEWS = [View(name, config()) for name, config in SELECTIONS.items()]


def dataset() -> Transitions:
    data = make_dataset(40, dtype=torch.float32)
    return Transitions(data.obs, data.act, data.reward, data.next_obs, data.discount, data.act.roll(-1, 0))


@functools.cache
def part_of(part: str, name: str, baseline: str) -> Any:
    options = {**OPTIONS, **DEMANDING, "improvement.baseline": baseline}
    return build_part(part, CHOICES[part][name], {part: name}, options, OPTIONS)


def parts_of(names: dict[str, str]) -> Parts:
    baseline = "value" if names["backup"] == "expectile" else "sample-mean"
    built = {part: part_of(part, names[part], baseline) for part in CHOICES}
    return Parts(**built, critic=CriticConfig(), network=TINY)


def reached(policy: Policy, loss: Tensor) -> set[str]:
    """Names of the parameters a loss can move."""
    named = dict(policy.named_parameters())
    gradients = torch.autograd.grad(loss.sum(), list(named.values()), allow_unused=True)
    return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def should_move(trainer: Trainer, names: dict[str, str], data: Transitions) -> set[str]:
    """The policy's parameters that its loss depends on, worked out from what each part differentiates."""
    rng, policy = SeedRng(SEEDS, "evaluate"), trainer.policy
    batch = data[rng.integers(len(data), 6)]
    expected: set[str] = set()
    if names["regularizer"] == "bc":
        expected |= reached(policy, policy.bc_loss(batch.obs, batch.act, rng))
    elif names["regularizer"] != "none":
        expected |= reached(policy, policy.sample(batch.obs, rng))
    improvement = trainer.parts.improvement
    if improvement.needs_reparameterised:
        expected |= reached(policy, policy.sample(batch.obs, rng))
    if improvement.needs_denoiser:
        expected |= reached(policy, policy.predict_clean(batch.obs, batch.act, rng))
    if improvement.needs_latent:
        expected |= reached(policy, policy.latent(batch.obs, rng)[0])
    if improvement.needs_velocity:
        expected |= reached(policy, policy.bc_loss(batch.obs, batch.act, rng))
    return expected


def train_two_steps(names: dict[str, str], parts: Parts, data: Transitions) -> None:
    trainer = Trainer(parts, CONFIG, SPEC, SEEDS, needs_critic=True)
    before = {name: p.clone() for name, p in trainer.policy.named_parameters()}
    others = {part: [p.clone() for p in module.parameters()] for part, module in trainer.learners().items()}
    record = trainer.train(data, 2, SeedRng(SEEDS, "train"))
    assert all(value.isfinite().all() for value in record.values()), names
    moved = {name for name, p in trainer.policy.named_parameters() if not torch.equal(p, before[name])}
    assert moved == should_move(trainer, names, data), names
    for part, module in trainer.learners().items():
        if part != "policy":
            pairs = zip(module.parameters(), others[part], strict=True)
            assert all(not torch.equal(now, then) for now, then in pairs), (names, part)
    obs = data.obs[:4].expand(len(SEEDS), -1, -1)
    for view in VIEWS:
        if refusal(names, parts, [view], True) is None:
            with torch.no_grad():
                action = view.selection(trainer.policy, trainer.critics(), obs, SeedRng(SEEDS, "evaluate"))
            assert action.shape == (len(SEEDS), 4, SPEC.act_dim)
            assert action.isfinite().all()


@pytest.mark.parametrize("every", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_every_combination_trains_or_is_refused_with_its_reason(every, capsys):
    """Of those that are not refused, the fast suite trains every 61st, and the first with each pair of parts."""
    data = dataset()
    cells: Counter[str] = Counter()
    trained: set[tuple[str, str]] = set()
    for number, choice in enumerate(itertools.product(*CHOICES.values())):
        names = dict(zip(CHOICES, choice, strict=True))
        parts = parts_of(names)
        reason = refusal(names, parts, [], True)
        pairs = set(itertools.combinations(choice, 2))
        if reason is None and (number % every == 0 or pairs - trained):
            train_two_steps(names, parts, data)
            trained |= pairs
        elif reason is not None:
            assert "use --" in reason
            assert "\n" not in reason
        for view in VIEWS:
            cells["works" if refusal(names, parts, [view], True) is None else "refused"] += 1
    assert sum(cells.values()) == len(VIEWS) * len(list(itertools.product(*CHOICES.values())))
    assert cells["works"] > 1000
    for name in POLICIES:
        assert any(refusal({**names, "policy": name}, parts_of({**names, "policy": name}), [], True) is None
                   for names in ({"regularizer": "bc", "improvement": improvement, "backup": "mean"}
                                 for improvement in ("q-max", "one-step", "edit-data")))  # fmt: skip
    with capsys.disabled():
        print(f"\n{cells['works']} combinations of parts work, {cells['refused']} are refused with a reason")
