"""The reference that speed is measured against is the method itself: the released numbers, step for step."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from d4rl_builders import arrays
from test_parity import TRAINING, PreparedRng, golden_batch, prepared_weights

from benchmarks import __main__ as program
from benchmarks import agreement, evaluation
from benchmarks.cases import CASES, our_steps
from benchmarks.measure import flops, interleaved
from benchmarks.reference import DiffusionQL, Settings
from core import fusion
from tasks.bandits import Bandit
from tasks.catalogue import offline_task
from tasks.collect import local


class OneSeed:
    """A prepared stream without the axis of seeds."""

    def __init__(self, seed: int):
        self.rng = PreparedRng(seed)

    def __getattr__(self, draw):
        return lambda *shape: getattr(self.rng, draw)(*shape)[0]


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_reference_reproduces_the_released_training(double):
    c = TRAINING["config"]
    same = (
        "obs_dim",
        "act_dim",
        "T",
        "lr",
        "critic_lr",
        "eta",
        "tau",
        "grad_norm",
        "ema_decay",
        "ema_every",
        "ema_start",
    )
    agent = DiffusionQL(Settings(**{name: c[name] for name in same}, discount=1.0))
    initial = prepared_weights(TRAINING["actor_params"], 100) + prepared_weights(TRAINING["critic_params"], 200)
    with torch.no_grad():
        for p, golden in zip([*agent.actor.parameters(), *agent.critic.parameters()], initial, strict=True):
            p.copy_(golden)
    agent.ema.load_state_dict(agent.actor.state_dict())
    agent.target.load_state_dict(agent.critic.state_dict())
    for k in range(len(TRAINING["steps"])):
        batch = golden_batch(k)
        # the discount is in the batch, as the trainer has it
        fields = (batch.obs, batch.act, batch.reward, batch.next_obs, batch.discount)
        agent.train_step(*[field[0] for field in fields], OneSeed(2000 + k))
    networks = {"actor": agent.actor, "ema_actor": agent.ema, "critic": agent.critic, "target_critic": agent.target}
    for name, module in networks.items():
        for p, (norm, first) in zip(module.parameters(), TRAINING["final"][name].values(), strict=True):
            np.testing.assert_allclose(p.norm().item(), norm, rtol=1e-8)
            np.testing.assert_allclose(p.detach().flatten()[: len(first)], first, rtol=1e-8, atol=1e-15)


def test_counted_work_is_the_products_of_a_cloning_step():
    case = CASES["bandit-bc-gaussian"]
    fusion.fuse(False)
    b, h, o, a = case.batch, case.hidden, case.obs_dim, 2 * case.act_dim
    forward = o * h + 2 * h * h + h * a
    # forward, gradients of the weights, and gradients of all inputs but the first
    expected = 2 * b * (2 * forward + forward - o * h)
    assert flops(our_steps(case, 1, torch.device("cpu"))) == expected


def test_contenders_take_turns():
    order = []
    rates = interleaved(
        {name: lambda count, name=name: order.append(name) for name in "ab"}, 4, 0.0, torch.device("cpu")
    )
    assert order[-8:] == ["a", "b"] * 4
    assert all(len(rate) == 4 and (rate > 0).all() for rate in rates.values())


@pytest.mark.slow
def test_the_program_writes_its_table_and_numbers(tmp_path, capsys):
    out = tmp_path / "speed.json"
    options = ["--cases", "bandit-bc-gaussian", "--seeds", "2", "--rounds", "2", "--seconds", "0.01", "--threads", "1"]
    before = torch.get_num_threads()
    try:
        assert program.main([*options, "--out", str(out)]) == 0
    finally:
        torch.set_num_threads(before)
        fusion.fuse(False)
    rows = json.loads(out.read_text())["rows"]
    assert [row["contender"] for row in rows] == ["reference", "2"]
    assert rows[0]["ratio"] == [1, 1, 1]
    assert "bandit-bc-gaussian" in capsys.readouterr().out


@pytest.mark.parametrize("device", ["cuda:99", "tpu"])
def test_a_device_that_is_not_here_is_refused(device, capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["--device", device])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("python -m benchmarks: error: --device")


@pytest.fixture
def few_rows(tmp_path, monkeypatch):
    """A local task with a handful of random transitions of hopper's sizes."""
    pytest.importorskip("mujoco")
    pytest.importorskip("h5py")
    monkeypatch.setenv("POLICY_ABLATION_CACHE", str(tmp_path))
    made = dataclasses.replace(local.LOCAL["local:hopper-medium"], make=lambda seed: arrays(terminal=()))
    monkeypatch.setitem(local.LOCAL, "local:hopper-medium", made)


def test_the_reference_judged_has_the_trainers_networks(few_rows):
    trainer = evaluation.cloned(offline_task("local:hopper-medium"), 2, 1)
    agent = evaluation.agent_of(trainer, 1)
    g = torch.Generator().manual_seed(0)
    obs, act = torch.randn(7, 11, generator=g), torch.rand(7, 3, generator=g) * 2 - 1
    ours = trainer.target_critic(obs.expand(2, -1, -1), act.expand(2, -1, -1))[1]
    torch.testing.assert_close(torch.stack(agent.target(obs, act)), ours)
    time = torch.full((7,), 2)
    predicted = trainer.policy.predict(act.expand(2, -1, -1), time.expand(2, -1), obs.expand(2, -1, -1))[1]
    torch.testing.assert_close(agent.actor.model(act, time, obs), predicted)


def test_evaluations_are_timed_in_turn(few_rows, capsys):
    options = "--seeds 2 --episodes 2 --limit 6 --train 1 --rounds 2 --workers 1".split()
    try:
        assert evaluation.main(options) == 0
    finally:
        fusion.fuse(False)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in printed[1:3]] == ["round 0", "round 1"]
    # no episode of six steps is over before: 2 seeds x 2 episodes
    assert all(line.count("24 steps") == 2 for line in printed[1:3])
    assert printed[-1].startswith("in turn / batched, processor time of a step: ")


def test_the_reference_learns_the_bandit_and_is_judged_as_a_policy_is(tmp_path, capsys):
    cloned, coupled = tmp_path / "cloned.csv", tmp_path / "coupled.csv"
    few = ["--seeds", "0", "1", "--steps", "4", "--every", "2"]
    assert agreement.main([*few, "--cloning", "--out", str(cloned)]) == 0
    assert agreement.main([*few, "--out", str(coupled)]) == 0
    assert "best_mode" in capsys.readouterr().out
    a, b = pd.read_csv(cloned), pd.read_csv(coupled)
    assert set(a["metric"]) == set(Bandit.metrics)
    assert a.groupby("metric")[["seed", "step"]].value_counts().eq(1).all()
    # the seed tells all of a run, and Q changes it
    first = a[a["seed"] == 0].drop(columns="seed").reset_index(drop=True)
    alone = agreement.train(0, 4, 2, cloning=True).drop(columns="seed")
    pd.testing.assert_frame_equal(first, alone)
    assert not np.allclose(a["value"], b["value"])
    with pytest.raises(SystemExit):
        agreement.main(["--steps", "5", "--every", "2"])
    with pytest.raises(SystemExit):
        agreement.main([*few, "--out", str(tmp_path / "none" / "x.csv")])
