"""A seed that diverges stops alone: marked wherever its run is shown, the others as if it had not been there."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from builders import improvement_of, make_dataset
from records import assert_same_run
from test_compiled import needs_compiler

from ablations.record import results
from ablations.run import evaluating, progress
from ablations.run.halting import Halting
from ablations.run.q_range import QRange
from core.rng import seed_generator
from policies import POLICIES
from run_ablation import main
from tasks.base import Evaluation
from trainers.trainer import Trainer

SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 60 --eval-every 30".split()
#: one of whose seeds acts with 1e8 after 200 steps
FAR_OUT = (
    "--policy gaussian --trainer.lr 100 --trainer.critic-lr 100 --steps 200 --seeds 0 1 2 --network.hidden 16 "
    "--network.depth 1 --trainer.batch 10 --compile off"
).split()

pytestmark = pytest.mark.usefixtures("few_samples")


def poison(monkeypatch, seed: int, step: int, of: str = "") -> None:
    """From that step on the policy of one seed is not a number, whoever its companions are; `of`: in one class only."""
    own, update = seed_generator(seed, "train").initial_seed(), Trainer.update

    @torch.no_grad()
    def poisoned(trainer, batch, rng):
        places = [place for place, one in enumerate(rng.generators) if one.initial_seed() == own]
        if trainer.step == step and of in type(trainer.policy).__name__:
            for parameter in trainer.policy.parameters():
                parameter[places] = torch.nan
        with torch.enable_grad():
            return update(trainer, batch, rng)

    monkeypatch.setattr(Trainer, "update", poisoned)


def rows(directory, name="metrics.csv"):
    return pd.read_csv(directory / name, dtype=str)


@pytest.mark.parametrize("compiled", ["off", pytest.param("on", marks=needs_compiler)])
@pytest.mark.parametrize("policy", POLICIES)
def test_the_others_are_bit_for_bit_what_they_are_without_it(policy, compiled, tmp_path, monkeypatch):
    command = f"--policy {policy} --improvement {improvement_of(policy)} --seeds 0 1 2 --compile {compiled}".split()
    command += ["--trainer.grad-norm", "5", "--selection", "softmax-q:candidates=3", *SMALL]
    assert main([*command, "--out", str(tmp_path / "healthy")]) == 0
    poison(monkeypatch, 1, 35)
    assert main([*command, "--out", str(tmp_path / "poisoned")]) == 1
    for name in ("metrics.csv", "training.csv"):
        healthy, poisoned = rows(tmp_path / "healthy", name), rows(tmp_path / "poisoned", name)
        left = (healthy["seed"] != "1") | (healthy["step"] == "30")
        pd.testing.assert_frame_equal(healthy[left].reset_index(drop=True), poisoned)
    weights = torch.load(tmp_path / "poisoned" / "checkpoint.pt")["state"]["policy"]
    whole = torch.load(tmp_path / "healthy" / "checkpoint.pt")["state"]["policy"]
    for name, weight in weights.items():
        assert torch.equal(weight[[0, 2]], whole[name][[0, 2]])
        # frequencies drawn once are no parameters
        assert weight[1].isnan().all() != name.endswith("time.fixed")


def test_it_is_marked_in_record_table_and_figures(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, 1, 35)
    command = ["--policy", "gaussian", "--seeds", "0", "1", "2", "--bc-only", *SMALL, "--out", str(tmp_path / "out")]
    for _ in range(2):
        assert main(command) == 1
        said = capsys.readouterr()
        last = said.err.splitlines()[-1]
        assert last.startswith(
            "run_ablation.py: error: gaussian-bc: seed 1 diverged at step 50: regularizer is not finite; try a smaller"
        )
        assert "gaussian-bc (1 of 3 seeds diverged)" in said.out
        assert "means and intervals are over the others" in said.out
    assert "already there" in said.err
    (diverged,) = json.loads((tmp_path / "out" / "config.json").read_text())["diverged"]
    assert (diverged["seed"], diverged["step"], diverged["reason"]) == (1, 50, "regularizer is not finite")
    assert diverged["last"]["step"] == 30
    assert np.isfinite(list(diverged["last"].values())).all()
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert set(summary["run"]) == {"gaussian-bc (1 of 3 seeds diverged)"}
    assert set(summary["seeds"]) == {2}
    metrics = results.load_metrics(tmp_path / "out")
    mean = metrics[(metrics["step"] == 60) & (metrics["metric"] == "reward")]["value"].mean()
    shown = summary[(summary["step"] == 60) & (summary["metric"] == "reward")]["mean"]
    assert shown.tolist() == [pytest.approx(mean)]
    assert (tmp_path / "out" / "figure.png").exists()


def test_a_run_without_a_seed_left_stays_in_table_and_comparison(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, 4, 0, of="CVAE")
    command = ["--policy", "gaussian", "cvae", "--bc-only", "--seeds", "4", *SMALL, "--out", str(tmp_path / "out")]
    assert main(command) == 1
    said = capsys.readouterr()
    assert "cvae-bc: seed 4 diverged at step 20" in said.err.splitlines()[-1]
    assert "cvae-bc (1 of 1 seeds diverged)" in said.out
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"] == ["gaussian-bc", "cvae-bc"]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["diverged"] == {"cvae-bc": [4]}
    assert set(pd.read_csv(tmp_path / "out" / "summary.csv")["label"]) == {"gaussian-bc"}
    assert results.read_config(tmp_path / "out" / "cvae-bc")["steps_done"] == 20


def test_samples_far_outside_are_divergence_and_no_nan_is_shown(tmp_path, capsys):
    assert main([*FAR_OUT, "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "seed 0 diverged at step 200: actions are not finite or beyond 1e+06" in said.err
    assert "nan" not in said.out
    assert rows(tmp_path / "out")["value"].notna().all()
    assert set(results.load_metrics(tmp_path / "out")["seed"]) == {1, 2}
    assert np.isnan(results.load_samples(tmp_path / "out")["actions_0"][0]).all()


def test_all_seeds_gone_is_a_line_for_each_and_ends_training(tmp_path, capsys):
    command = "--policy gaussian --bc-only --trainer.lr 1e30 --seeds 0 3 --steps 200".split()
    for _ in range(2):
        assert main([*command, "--compile", "off", "--out", str(tmp_path / "out")]) == 1
        said = capsys.readouterr()
        assert [line.split(": ")[3] for line in said.err.splitlines() if "error" in line] == [
            "seed 0 diverged at step 20",
            "seed 3 diverged at step 20",
        ]
        assert "gaussian-bc (2 of 2 seeds diverged)" in said.out
    assert results.read_config(tmp_path / "out")["steps_done"] == 20


def test_groups_of_seeds_and_what_goes_on_are_the_same(tmp_path, monkeypatch):
    poison(monkeypatch, 1, 5)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    command = ["--policy", "gaussian", "--seeds", "0", "1", "2", "--compile", "off", *SMALL]
    assert main([*command, "--out", str(tmp_path / "together")]) == 1
    assert main([*command, "--seeds-at-once", "1", "--out", str(tmp_path / "groups")]) == 1
    assert_same_run(tmp_path / "together", tmp_path / "groups")
    a, b = (results.read_config(tmp_path / name)["diverged"] for name in ("together", "groups"))
    assert [(one["seed"], one["step"], one["reason"]) for one in a] == [(b[0]["seed"], b[0]["step"], b[0]["reason"])]
    train, calls = Trainer.train, iter(range(3))

    def cut(trainer, *rest):
        if next(calls, None) is None:
            raise ConnectionError
        return train(trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", cut)
        with pytest.raises(ConnectionError):
            main([*command, "--out", str(tmp_path / "cut")])
    assert main([*command, "--out", str(tmp_path / "cut")]) == 1
    for name in ("metrics.csv", "training.csv"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "together" / name).read_text()
    assert results.read_config(tmp_path / "cut")["diverged"] == a


def test_joined_and_asked_for_its_critic(tmp_path, monkeypatch, capsys):
    poison(monkeypatch, 1, 5)
    command = ["--policy", "gaussian", "--compile", "off", *SMALL]
    assert main([*command, "--seeds", "0", "1", "--out", str(tmp_path / "a")]) == 1
    assert main([*command, "--seeds", "2", "--out", str(tmp_path / "b")]) == 0
    assert main(["--join", str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "both")]) == 0
    assert "gaussian-q-max (1 of 3 seeds diverged)" in capsys.readouterr().out
    assert [one["seed"] for one in results.read_config(tmp_path / "both")["diverged"]] == [1]
    critic = ["--critic-from", str(tmp_path / "both"), "--out", str(tmp_path / "c")]
    assert main([*command, "--seeds", "0", "1", *critic]) == 2
    assert "its seed 1 diverged" in capsys.readouterr().err
    assert main([*command, "--seeds", "0", "2", *critic]) == 0


def test_a_metric_that_is_not_finite_is_that_seed_s_alone():
    class Evaluated:
        def held_out(self):
            return None

        def evaluate(self, act, rng, seeds):
            acted = act(rng.normal(7, 4), rng)
            assert acted.isfinite().all()
            assert (acted[1] == 0).all()
            return Evaluation({"return": np.array([1.0, 2.0, -np.inf])}, {"lengths": np.arange(3)})

    class Drawn:
        critic = None
        device = torch.device("cpu")

        def critics(self):
            return None

    @dataclasses.dataclass
    class View:
        policy = None
        selection = staticmethod(lambda policy, critics, obs, rng: obs.index_fill(0, torch.tensor([1]), torch.inf))

    class Run:
        seeds = (0, 1, 2)

    trainer = Drawn()
    trainer.acting_policy = None
    scored, bad = evaluating.evaluate(Run(), View(), Evaluated(), trainer)
    assert bad == {1: "actions are not finite or beyond 1e+06", 2: "return is not finite"}
    blank = evaluating.without(scored, [1, 2])
    np.testing.assert_array_equal(blank.metrics["return"], [1, np.nan, np.nan])
    np.testing.assert_array_equal(blank.samples["lengths"], [0, np.nan, np.nan])
    assert scored.metrics["return"][2] == -np.inf


class TestQRange:
    def test_what_a_discounted_return_can_be(self):
        data = make_dataset()
        data.reward.uniform_(-1, 3)
        within = QRange(data)
        assert within.low == pytest.approx(100 * data.reward.min().item())
        assert within.high == pytest.approx(100 * data.reward.max().item())
        width = within.high - within.low
        assert not within.far(within.high + 0.9 * width)
        assert within.far(within.high + 1.1 * width)
        assert within.far(within.low - 1.1 * width)
        assert not within.far(float("nan"))

    def test_of_one_step_it_is_the_range_of_rewards_and_of_no_discount_there_is_none(self):
        data = make_dataset()
        assert QRange(dataclasses.replace(data, discount=0 * data.discount)).high == data.reward.max().item()
        assert not QRange(dataclasses.replace(data, discount=0 * data.discount + 1)).far(1e30)

    def test_it_is_said_once(self, capsys):
        class Run:
            label, seeds = "flow", (3, 5)

        within = QRange(make_dataset())
        for step in (20, 40):
            within.check(Run(), step, {"target_q": torch.tensor([1.0, 1e7])})
        assert capsys.readouterr().err.count("flow: Q of seed 5 is 1e+07 at step 20; rewards of the data allow") == 1


def test_a_seed_that_stopped_early_does_not_diverge_later():
    from builders import make_trainer, small_config

    trainer = make_trainer(small_config("gaussian"), (0, 1))
    halting = Halting(trainer, early=True)
    halting.consider(np.array([1.0, 1.0]))
    halting.consider(np.array([2.0, 0.5]))
    assert halting.stopped_early == [0]
    assert halting.watch({"loss": torch.tensor([torch.nan, torch.nan])}) == [1]
    assert halting.halted == [0, 1]
