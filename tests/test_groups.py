"""Seeds trained in groups give what they give together; what they need is counted, and split where it does not fit."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from builders import SPEC, make_dataset, make_trainer, small_config
from records import assert_same_run

from ablations.command.cli import parse
from ablations.record.results import read_config
from ablations.run import memory, runner
from core.rng import SeedRng
from run_ablation import main
from tasks import bandits
from trainers import checkpoint

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 16 --compile off".split()
TASK = "--policy.T 3 --steps 6 --eval-every 3 --seeds 4 7 1 --selection one argmax-q:candidates=3".split()


pytestmark = pytest.mark.usefixtures("few_samples")


def trained(out, *arguments):
    assert main([*TASK, *SMALL, *arguments, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize("size", ["1", "2"])
def test_in_groups_is_together(tmp_path, size):
    together, apart = trained(tmp_path / "a"), trained(tmp_path / "b", "--seeds-at-once", size)
    assert_same_run(together, apart)
    assert read_config(together)["seeds"] == read_config(apart)["seeds"] == [4, 7, 1]
    stored = [torch.load(out / "checkpoint.pt", weights_only=True) for out in (together, apart)]
    assert stored[0]["state"].keys() == stored[1]["state"].keys()
    for name, tensor in stored[0]["state"]["policy"].items():
        torch.testing.assert_close(tensor, stored[1]["state"]["policy"][name], rtol=1e-5, atol=1e-6)
    means = [one["state"]["critic_optimizer"]["state"][0]["exp_avg"] for one in stored]
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(stored[0]["rng"], stored[1]["rng"], strict=True))


def test_too_little_memory_splits_and_says_so(tmp_path, monkeypatch, capsys):
    together = trained(tmp_path / "a")
    assert "MB free" not in capsys.readouterr().err
    run = parse([*TASK, *SMALL]).runs[0]
    each = memory.of_one_seed(run, bandits.Bandit.spec)
    monkeypatch.setattr(memory, "free", lambda device: int(2.5 * each / memory.SHARE))
    apart = trained(tmp_path / "b")
    said = capsys.readouterr().err
    assert "3 seeds need about" in said
    assert "trained 2 at a time" in said
    assert read_config(apart)["groups"] == [[4, 7], [1]]
    assert_same_run(together, apart)
    assert read_config(together)["seeds"] == read_config(apart)["seeds"] == [4, 7, 1]


def test_an_interruption_keeps_the_groups_begun(tmp_path, monkeypatch):
    original = runner.train

    def interrupted(run, *rest):
        outcome = original(run, *rest)
        outcome.interrupted = 7 in run.seeds
        return outcome

    monkeypatch.setattr(runner, "train", interrupted)
    assert main([*TASK, *SMALL, "--seeds-at-once", "1", "--out", str(tmp_path / "a")]) == 130
    config = read_config(tmp_path / "a")
    assert config["interrupted"]
    assert config["seeds"] == [4, 7]


def test_groups_whose_seeds_stop_early_are_as_long_as_the_longest(tmp_path):
    options = "--policy gaussian --bc-only --seeds 0 1 2 --steps 100 --eval-every 10 --early-stop --selection one"
    frames, tables = [], []
    for name, grouping in (("a", []), ("b", ["--seeds-at-once", "1"])):
        assert main([*options.split(), *SMALL, *grouping, "--out", str(tmp_path / name)]) == 0
        frames.append(pd.read_csv(tmp_path / name / "metrics.csv"))
        tables.append(pd.read_csv(tmp_path / name / "summary.csv"))
    halted = read_config(tmp_path / "b")["halted"]
    assert halted == read_config(tmp_path / "a")["halted"]
    assert len(set(halted)) == 3
    pd.testing.assert_frame_equal(*frames, rtol=1e-5, atol=1e-6)
    pd.testing.assert_frame_equal(*tables, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", ["0", "two"])
def test_a_group_has_a_seed(value, tmp_path, capsys):
    assert main(["--seeds-at-once", value, "--out", str(tmp_path / "a")]) == 2
    assert "--seeds-at-once: must be at least 1" in capsys.readouterr().err


def test_what_is_counted_grows_with_the_chain_and_the_batch():
    def of(*options):
        return memory.of_one_seed(parse(["--network.hidden", "16", "--network.depth", "1", *options]).runs[0], SPEC)

    base = of("--policy.T", "5", "--trainer.batch", "16")
    depth, hidden, batch = 1, 16, 16
    kept_by_ten_steps_more = 10 * batch * depth * hidden * 4
    assert of("--policy.T", "15", "--trainer.batch", "16") - base >= kept_by_ten_steps_more
    assert of("--policy.T", "5", "--trainer.batch", "32") > base


def test_joined_checkpoints_resume(tmp_path):
    data = make_dataset()
    for seed in (3, 5):
        trainer, rng = make_trainer(small_config("gaussian"), (seed,)), SeedRng((seed,), "train", dtype=torch.float64)
        trainer.train(data, 4, rng)
        checkpoint.save(tmp_path / f"{seed}.pt", trainer, rng)
    checkpoint.join([tmp_path / "3.pt", tmp_path / "5.pt"], tmp_path / "both.pt")
    resumed, there = (make_trainer(small_config("gaussian"), (3, 5)) for _ in range(2))
    rng, own = (SeedRng((3, 5), "train", dtype=torch.float64) for _ in range(2))
    checkpoint.load(tmp_path / "both.pt", resumed, rng)
    resumed.train(data, 3, rng)
    there.train(data, 7, own)
    for a, b in zip(resumed.policy.parameters(), there.policy.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
