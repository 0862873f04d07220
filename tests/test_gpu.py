"""On a GPU: the steps of the CPU, compiled and replayed too. Where there is none, all of it is skipped."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from builders import (
    POLICY_OF,
    SPEC,
    double_rng,
    improvement_of,
    make_dataset,
    make_trainer,
    relative_error,
    small_config,
)

from ablations.plan.parts import build_part
from ablations.run.halting import Halting
from core import fusion
from core.networks import NetworkConfig
from core.rng import SeedRng, beside
from critics import BACKUPS, CriticConfig
from policies import POLICIES
from run_ablation import main
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig, captured, checkpoint
from trainers.annealing import ANNEALINGS
from trainers.trainer import Parts, Trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

DEVICE = "cuda"
SEEDS = (0, 1, 2)


class DrawnOnTheCPU:
    """The CPU's draws, brought to the GPU: both devices then train on the same numbers."""

    def __init__(self, rng):
        self.rng = rng

    def normal(self, *shape):
        return self.rng.normal(*shape).cuda()

    def uniform(self, *shape):
        return self.rng.uniform(*shape).cuda()

    def integers(self, high, *shape):
        return self.rng.integers(high, *shape).cuda()

    def beside(self, name):
        return DrawnOnTheCPU(beside(self.rng, name))


def state_of(trainer):
    modules = [m for m in (trainer.policy, trainer.critic, trainer.target_policy, trainer.target_critic) if m]
    return [p.detach().cpu() for module in modules for p in module.parameters()]


def trained(name, *, compiled=False, replayed=False, dtype=torch.float64, steps=20, seeds=SEEDS):
    fusion.fuse(compiled, replay=replayed)
    trainer = make_trainer(small_config(name), seeds, improvement_of(name), dtype, DEVICE)
    captured.replay(trainer)
    rng = SeedRng(seeds, "train", DEVICE, dtype)
    record = trainer.train(make_dataset(dtype=dtype).to(DEVICE), steps, rng)
    if replayed:
        assert any(kind.graph is not None for kind in trainer.taking._kinds.values())
    return state_of(trainer), {key: value.cpu() for key, value in record.items()}


def assert_near(ours, theirs, tolerance):
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", POLICIES)
def test_it_trains_as_the_cpu_does(name):
    states = []
    for device in ("cpu", DEVICE):
        trainer = make_trainer(small_config(name), SEEDS, improvement_of(name), device=device)
        rng = SeedRng(SEEDS, "train", dtype=torch.float64)
        trainer.train(make_dataset().to(device), 20, rng if device == "cpu" else DrawnOnTheCPU(rng))
        states.append(state_of(trainer))
    assert_near(*states, 1e-9)


@pytest.mark.parametrize(("compiled", "replayed"), [(False, True), (True, True)])
@pytest.mark.parametrize("name", POLICIES)
def test_compiled_and_replayed_steps_are_the_steps(name, compiled, replayed):
    plain, record = trained(name)
    ours, our_record = trained(name, compiled=compiled, replayed=replayed)
    assert_near(ours, plain, 1e-9)
    assert_near(our_record.values(), record.values(), 1e-9)


@pytest.mark.parametrize("name", ["diffusion", "gaussian", "cvae"])
def test_they_stay_so_over_200_steps_of_single_precision(name):
    results = (trained(name, compiled=on, replayed=on, dtype=torch.float32, steps=200)[0] for on in (False, True))
    assert_near(*results, 1e-5)


@pytest.mark.parametrize("name", ["diffusion", "flow"])
def test_together_is_alone(name):
    together, _ = trained(name, compiled=True, replayed=True)
    for place, seed in enumerate(SEEDS):
        alone, _ = trained(name, compiled=True, replayed=True, seeds=(seed,))
        assert_near([p[place : place + 1] for p in together], alone, 1e-9)


def first_gradients(name, precision):
    """Of each learner, as Adam's first moments keep them after one compiled step."""
    fusion.fuse(True, precision)
    trainer = make_trainer(small_config(name), SEEDS, improvement_of(name), torch.float32, DEVICE)
    data = make_dataset(dtype=torch.float32).to(DEVICE)
    record = trainer.train(data, 1, SeedRng(SEEDS, "train", DEVICE))
    assert all(value.dtype is torch.float32 for value in record.values())
    return {
        part: torch.cat([state["exp_avg"].flatten() for state in optimizer.state.values()])
        for part, optimizer in trainer.optimizers.items()
    }


@pytest.mark.parametrize("name", ["diffusion", "flow", "edm", "gaussian", "distilled"])
def test_rounded_products_are_near(name):
    """bf16 has 8 bits of mantissa; and where a prediction of x0 crosses the edge, a sample's gradient comes or goes."""
    single, half = (first_gradients(name, precision) for precision in ("float32", "bf16"))
    for part, gradient in single.items():
        assert 1e-5 < relative_error(half[part], gradient) < 0.1, part


@pytest.mark.parametrize("settings", [{"bonus_start": 2, "bonus_ramp": 10}, {"policy_every": 2, "batch": 5}])
def test_rates_and_weights_that_change_and_seeds_that_are_put_back(settings):
    """What is written in place between replays; at a batch of 5 the slices of a chain are not aligned."""
    states = []
    for on in (False, True):
        fusion.fuse(on)
        trainer = make_trainer(small_config("diffusion"), SEEDS, device=DEVICE, **settings)
        trainer.annealing = ANNEALINGS["cosine"](60, 20)
        captured.replay(trainer)
        stopping, data = Halting(trainer, early=True), make_dataset().to(DEVICE)
        rng = double_rng(SEEDS, device=DEVICE)
        for losses in ([1.0, 1.0, 1.0], [0.5, 2.0, 0.5], [0.4, 0.4, 0.4]):
            trainer.train(data, 20, rng)
            stopping.put_back()
            stopping.consider(np.array(losses))
        assert stopping.halted == [1]
        states.append(state_of(trainer))
    assert_near(*states, 1e-9)


def test_a_trainer_goes_on_from_a_file_of_another(tmp_path):
    data = make_dataset().to(DEVICE)
    states = []

    def begun():
        return make_trainer(small_config("diffusion"), SEEDS, device=DEVICE), double_rng(SEEDS, device=DEVICE)

    for pause in (False, True):
        fusion.fuse(True)
        trainer, rng = begun()
        captured.replay(trainer)
        trainer.train(data, 20, rng)
        if pause:
            checkpoint.save(tmp_path / "checkpoint.pt", trainer, rng)
            trainer, rng = begun()
            checkpoint.load(tmp_path / "checkpoint.pt", trainer, rng)
            captured.replay(trainer)
        trainer.train(data, 20, rng)
        states.append(state_of(trainer))
    assert_near(*states, 1e-12)


PARTS = [
    *(("bc", improvement, "clipped-double-q") for improvement in IMPROVEMENTS),
    *((regularizer, "q-max", "clipped-double-q") for regularizer in REGULARIZERS),
    *(("bc", "q-max", backup) for backup in BACKUPS),
]


@pytest.mark.parametrize(("regularizer", "improvement", "backup"), PARTS)
def test_every_part_can_be_replayed(regularizer, improvement, backup):
    policy = "gaussian" if regularizer == "kl" else POLICY_OF.get(improvement, "diffusion")
    states = []
    for on in (False, True):
        fusion.fuse(on)
        parts = Parts(
            policy=small_config(policy),
            regularizer=build_part("regularizer", REGULARIZERS[regularizer], {}, {}, {}),
            improvement=build_part("improvement", IMPROVEMENTS[improvement], {}, {}, {}),
            backup=BACKUPS[backup](),
            critic=CriticConfig(layer_norm=backup == "mean"),
            network=NetworkConfig(hidden=16, depth=2),
        )
        config = TrainerConfig(batch=8, grad_norm=5.0, policy_every=2)
        trainer = Trainer(parts, config, SPEC, SEEDS, device=DEVICE, dtype=torch.float64)
        captured.replay(trainer)
        data = dataclasses.replace(make_dataset(), next_act=make_dataset().act.flip(0)).to(DEVICE)
        trainer.train(data, 20, double_rng(SEEDS, device=DEVICE))
        assert not on or any(kind.graph is not None for kind in trainer.taking._kinds.values())
        states.append(state_of(trainer))
    assert_near(*states, 1e-9)


def test_a_run_of_the_command_line_with_everything_on(tmp_path):
    options = "--steps 40 --eval-every 20 --seeds 0 1 --compile on --device cuda".split()
    for precision, preset in itertools.product(("float32", "bf16"), ("diffusion-ql", "bear")):
        out = tmp_path / f"{precision}-{preset}"
        assert main([*options, "--preset", preset, "--precision", precision, "--out", str(out)]) == 0
        # a laptop without a GPU opens it
        stored = torch.load(out / "checkpoint.pt", weights_only=True)
        assert {tensor.device.type for tensor in stored["state"]["policy"].values()} == {"cpu"}
