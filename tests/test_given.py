"""Behaviours of one's own as Python objects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from core.options import OptionError
from run_ablation import main
from tasks import ground, make_task
from tasks.behaviours import BEHAVIOURS
from tasks.behaviours.given import register

QUICK = "--policy gaussian --network.hidden 8 --steps 2 --seeds 0 --trainer.batch 8 --device cpu".split()


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(ground, "SAMPLES", 300)
    before = dict(BEHAVIOURS)
    yield
    BEHAVIOURS.clear()
    BEHAVIOURS.update(before)


class Box:
    """Uniform on the right half."""

    def sample(self, contexts, generator):
        act = torch.rand(len(contexts), 2, generator=generator, dtype=torch.float64)
        return torch.stack([act[:, 0], 2 * act[:, 1] - 1], -1)


class Dense(Box):
    def log_prob(self, contexts, act):
        inside = (act[:, 0] >= 0) & (act.abs() <= 1).all(-1)
        return torch.where(inside, -np.log(2.0), -np.inf)


class Turned:
    """One direction for each context."""

    def contexts(self, count, generator):
        return torch.rand(count, 1, generator=generator, dtype=torch.float64)

    def sample(self, contexts, generator):
        noise = torch.randn(len(contexts), 3, generator=generator, dtype=torch.float64)
        return (contexts - 0.5 + 0.02 * noise).clamp(-1, 1)


def test_an_object_is_a_task(tmp_path):
    register("mine", Dense(), act_dim=2)
    assert main(["--task", "bandit:mine", *QUICK, "--critic", "exact", "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "metrics.csv").set_index("metric")["value"]
    assert {"kl", "off_support", "optimum_distance", "c2st"} <= set(table.index)
    fresh = make_task("bandit:mine").reference().metrics
    assert fresh["off_support"][0] == 0
    assert fresh["reward"][0] == pytest.approx(5 * 0.25, abs=0.2)


def test_without_a_density_what_needs_one_is_left_out(tmp_path):
    register("mine", Box(), act_dim=2)
    assert not {"kl", "off_support", "optimum_distance"} & make_task("bandit:mine").reference().metrics.keys()
    register("mine", Turned(), act_dim=3, obs_dim=1)
    task = make_task("bandit:mine")
    assert (task.spec.obs_dim, task.spec.act_dim) == (1, 3)
    assert task.ground.obs.shape[0] == ground.CONTEXTS
    assert "worst_energy_distance" in task.reference().metrics


def giving(**methods):
    return type("Mine", (), {name: staticmethod(method) for name, method in methods.items()})()


def fair(obs, generator):
    return torch.rand(len(obs), 2, generator=generator).double()


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("ring", Box(), "testbed's own"),
        ("a/b", Box(), "letters"),
        ("mine", object(), "has no sample"),
        ("mine", giving(sample=lambda obs, g: fair(obs, g)[:, :1]), "expected a tensor of shape"),
        ("mine", giving(sample=lambda obs, g: fair(obs, g).numpy()), "gave ndarray"),
        ("mine", giving(sample=lambda obs, g: 2 + fair(obs, g)), r"in \[-1, 1\]"),
        ("mine", giving(sample=lambda obs, g: fair(obs, g) * torch.nan), "expected finite"),
        ("mine", giving(sample=lambda obs, g: torch.zeros(len(obs), 2)), "one point"),
        ("mine", giving(sample=fair, log_prob=lambda obs, act: act), "log_prob gave a tensor of shape"),
        ("mine", giving(sample=fair, log_prob=lambda obs, act: act[:, 0] * torch.nan), "log_prob gave nan"),
        ("mine", giving(sample=fair, log_prob=lambda obs, act: act[:, 0] - torch.inf), "log_prob is -inf"),
        ("mine", giving(sample=fair, contexts=lambda n, g: torch.zeros(n, 9)), "contexts gave a tensor of shape"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(name, given, says):
    with pytest.raises(OptionError, match=says) as error:
        register(name, given, act_dim=2)
    assert "\n" not in str(error.value)
    assert "mine" not in BEHAVIOURS
