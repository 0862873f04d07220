"""Every selection protocol from one run's directory, and seeds that stop early while others train on."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from builders import double_rng, make_dataset, make_trainer, small_config
from records import written

from ablations.analysis import protocols
from ablations.analysis.statistics import summarise
from ablations.record import results
from ablations.record.integrity import write_json
from ablations.report.table import table
from ablations.run.halting import Halting
from run_ablation import main


def means(directory) -> dict[str, float]:
    return summarise(protocols.by_protocol(directory), protocols.COLUMNS).set_index("protocol")["mean"].to_dict()


#: two seeds, four evaluations; by loss they come in the order 2, 0, 1, 3
SCORES = [[10, 1], [20, 2], [50, 3], [40, 4]]
LOSSES = [[0.5] * 2, [0.9] * 2, [0.1] * 2, [0.95] * 2]


def test_every_rule_is_named_with_its_score_over_seeds(tmp_path):
    """hopper-medium-v2 has k = 2: the third lowest loss is evaluation 1's, and the release takes rank(2) = 0."""
    chosen = summarise(protocols.by_protocol(written(tmp_path / "run", SCORES, LOSSES)), protocols.COLUMNS)
    assert chosen.set_index("protocol")["mean"].to_dict() == {
        "last": 22,
        "mean of last ten": 16.25,
        "offline, as released": 5.5,
        "offline, corrected": 11,
        "best online": 27,
    }
    assert set(chosen["seeds"]) == {2}
    assert (chosen["low"] < chosen["mean"]).all()
    printed = table(chosen, {}, pd.DataFrame(), all_metrics=True)
    assert "score, offline, corrected (k = 2)" in printed
    assert "score, mean of last ten " in printed


def test_k_is_the_published_tasks_also_for_the_local_one_like_it():
    tasks = ("halfcheetah-medium-expert-v2", "local:hopper-medium-replay", "local:pointmaze-umaze")
    assert [protocols.published_top_k(task) for task in tasks] == [0, 2, 1]


def test_nothing_to_choose_from_is_no_table(tmp_path):
    assert protocols.by_protocol(written(tmp_path / "one", SCORES[:1], LOSSES[:1])).empty
    assert protocols.by_protocol(written(tmp_path / "bandit", SCORES, LOSSES, metric="on_mode")).empty


@pytest.mark.parametrize("kind", ["regularizer", "losses"])
def test_offline_rules_need_a_loss(tmp_path, kind):
    losses = [*LOSSES[:3], [np.nan] * 2] if kind == "losses" else LOSSES
    run = written(tmp_path / "run", SCORES, losses, regularizer="none" if kind == "regularizer" else "bc")
    assert set(means(run)) == {"last", "mean of last ten", "best online"}


def test_a_comparison_has_the_rules_of_each_run(tmp_path):
    runs = {"a": SCORES, "b": np.array(SCORES) + 100}
    for name, scores in runs.items():
        written(tmp_path / name, scores, LOSSES, label=name)
    write_json(tmp_path / "comparison.json", {"study": None, "runs": list(runs)})
    last = protocols.by_protocol(tmp_path).query("protocol == 'last'").groupby("run")["value"].mean()
    assert last.to_dict() == {"a": 22, "b": 122}


def test_a_seed_that_stopped_early_is_read_at_its_stop(tmp_path):
    """Seed 0 rises at evaluation 1, seed 1 at evaluation 2; what came after is not theirs."""
    losses = [[0.5, 0.5], [0.6, 0.4], [np.nan, 0.45], [np.nan, np.nan]]
    run = written(tmp_path / "run", SCORES, losses, early_stop=True)
    found = means(run)
    assert found["last"] == np.mean([20, 3])
    assert found["best online"] == np.mean([20, 3])
    assert found["mean of last ten"] == np.mean([15, 2])
    assert found["offline, corrected"] == np.mean([20, 1])


def test_a_halted_seed_keeps_its_networks_while_the_others_train_on():
    data, rng = make_dataset(), double_rng((0, 1))
    trainer = make_trainer(small_config("diffusion"), (0, 1))
    stopping = Halting(trainer, early=True)
    trainer.train(data, 3, rng)
    stopping.consider(np.array([1.0, 1.0]))
    assert stopping.halted == []
    trainer.train(data, 3, rng)
    stopping.consider(np.array([0.9, 1.1]))
    assert stopping.halted == [1]
    modules = [trainer.policy, trainer.critic, trainer.target_policy, trainer.target_critic]
    then = [p.detach().clone() for module in modules for p in module.parameters()]
    trainer.train(data, 3, rng)
    stopping.put_back()
    now = [p.detach() for module in modules for p in module.parameters()]
    for before, after in zip(then, now, strict=True):
        assert torch.equal(before[1], after[1])
    assert not all(torch.equal(before[0], after[0]) for before, after in zip(then, now, strict=True))


def test_a_run_that_stops_early(tmp_path, few_samples):
    small = "--network.hidden 16 --network.depth 1 --trainer.batch 10 --compile off --policy gaussian --bc-only"
    command = f"{small} --steps 400 --eval-every 5 --seeds 0 1 --early-stop --lr-decay --out {tmp_path / 'out'}"
    assert main(command.split()) == 0
    config = results.read_config(tmp_path / "out")
    assert sorted(config["halted"]) == [0, 1]
    assert config["steps_done"] < 400
    assert config["lr_decay"] == "cosine"
    training = pd.read_csv(tmp_path / "out" / "training.csv")
    losses = training[training["metric"] == protocols.LOSS].pivot(index="step", columns="seed", values="value")
    metrics = pd.read_csv(tmp_path / "out" / "metrics.csv")
    ends = []
    for seed in (0, 1):
        count = protocols.early_stop(losses[seed].dropna().to_numpy())
        assert losses[seed].notna().sum() == count
        after = metrics[(metrics["seed"] == seed) & (metrics["step"] >= losses.index[count - 1])]
        # the same networks meet the same draws: whatever is measured stands still
        assert (after.groupby("metric")["value"].nunique() == 1).all()
        ends.append(losses.index[count - 1])
    assert max(ends) == config["steps_done"]
    assert not (tmp_path / "out" / "protocols.csv").exists()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["early_stop"] is True
