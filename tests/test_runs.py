"""Whole runs: what a run directory holds, that it is repeatable, and that nothing half-done is left or lost."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from ablations.plan.studies import STUDIES
from ablations.record import results
from ablations.run import runner
from run_ablation import main
from trainers.trainer import Trainer

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 10 --compile off".split()


pytestmark = pytest.mark.usefixtures("few_samples")


def run(tmp_path, arguments, name="out"):
    code = main([*arguments.split(), *SMALL, "--out", str(tmp_path / name)])
    return code, tmp_path / name


def test_a_run_directory(tmp_path, capsys):
    code, out = run(tmp_path, "--bc-only --steps 6 --eval-every 3 --seeds 4 7 --policy.T 3")
    assert code == 0
    tables = {"metrics.csv", "training.csv", "log.csv", "summary.csv"}
    names = {"config.json", *tables, "samples.npz", "checkpoint.pt", "figure.png"}
    assert {path.name for path in out.iterdir()} == names
    assert list(tmp_path.iterdir()) == [out]
    metrics = pd.read_csv(out / "metrics.csv")
    assert list(metrics.columns) == [*results.FACTORS, *results.VIEW, "seed", "step", "metric", "value"]
    assert set(metrics["seed"]) == {4, 7}
    assert set(metrics["step"]) == {3, 6}
    assert metrics["value"].notna().all()
    config = json.loads((out / "config.json").read_text())
    assert config["options"]["policy"]["T"] == 3
    assert config["steps_done"] == 6
    assert {"torch", "numpy"} <= config["environment"]["packages"].keys()
    printed = capsys.readouterr()
    assert "energy_distance" in printed.out
    assert f"results: {out}" in printed.out
    assert (out / "figure.png").read_bytes()[1:4] == b"PNG"


def test_the_same_command_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        assert run(tmp_path, "--policy gaussian --steps 5 --seeds 0 1", name)[0] == 0
    for file in ("metrics.csv", "training.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_comparison_and_its_views(tmp_path):
    code, out = run(
        tmp_path, "--policy diffusion cvae --policy.T 2 --steps 4 --seeds 0 1 --selection one argmax-q:candidates=3"
    )
    assert code == 0
    summary = pd.read_csv(out / "summary.csv")
    labels = ["diffusion-q-max", "cvae-q-max"]
    assert set(summary["run"]) == {f"{label} {view}" for label in labels for view in ("one", "argmax-q:candidates=3")}
    with np.load(out / "diffusion-q-max" / "samples.npz") as stored:
        assert stored["actions_0"].shape == stored["actions_1"].shape == (2, 50, 2)
        assert not np.array_equal(stored["actions_0"], stored["actions_1"])


def test_a_comparison_cut_off_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    command = "--policy gaussian cvae --bc-only --steps 3 --seeds 0"
    original = runner.write
    monkeypatch.setattr(runner, "write", lambda run, *rest: 1 / 0 if "cvae" in run.label else original(run, *rest))
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, command)
    assert (tmp_path / "out" / "gaussian-bc" / "metrics.csv").exists()
    kept = (tmp_path / "out" / "gaussian-bc" / "config.json").stat().st_mtime_ns
    monkeypatch.setattr(runner, "write", original)
    assert run(tmp_path, command.replace("--steps 3", "--steps 4"))[0] == 2
    assert "already holds gaussian-bc with other steps" in capsys.readouterr().err
    assert run(tmp_path, f"{command} --precision bf16")[0] == 2
    assert "already holds gaussian-bc with other precision" in capsys.readouterr().err
    assert run(tmp_path, command)[0] == 0
    assert kept == (tmp_path / "out" / "gaussian-bc" / "config.json").stat().st_mtime_ns
    for damage in ("", "half a line", "step,value\n1,x\n"):
        metrics = tmp_path / "out" / "gaussian-bc" / "metrics.csv"
        metrics.write_text(damage)
        assert run(tmp_path, command)[0] == 2
        assert "gaussian-bc: its metrics.csv cannot be read; remove that directory" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out" / "gaussian-bc")
    assert run(tmp_path, command)[0] == 0
    assert set(pd.read_csv(tmp_path / "out" / "summary.csv")["label"]) == {"gaussian-bc", "cvae-bc"}


@pytest.mark.parametrize(
    "damage", [lambda whole: b"", lambda whole: whole[: len(whole) // 2], lambda whole: whole[:-400] + b"x" * 400]
)
def test_damaged_samples_are_said_before_anything_else_is_trained(tmp_path, capsys, damage):
    command = "--policy gaussian cvae --bc-only --steps 3 --seeds 0"
    assert run(tmp_path, command)[0] == 0
    samples = tmp_path / "out" / "gaussian-bc" / "samples.npz"
    samples.write_bytes(damage(samples.read_bytes()))
    shutil.rmtree(tmp_path / "out" / "cvae-bc")
    assert run(tmp_path, command)[0] == 2
    assert "gaussian-bc: its samples.npz cannot be read; remove that directory" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cvae-bc").exists()
    samples.unlink()
    assert run(tmp_path, command)[0] == 2
    assert "gaussian-bc: its samples.npz cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cvae-bc").exists()


def test_a_study_made_in_parts_is_one_comparison(tmp_path, capsys):
    part = "--study coupling --steps 2 --seeds 0 1 --only "
    assert run(tmp_path, part + "cvae")[0] == 0
    assert run(tmp_path, part + "gaussian")[0] == 0
    assert list(pd.read_csv(tmp_path / "out" / "summary.csv")["label"].unique()) == ["gaussian", "cvae"]
    (tmp_path / "out" / "comparison.json").write_text("{")
    assert run(tmp_path, part + "diffusion")[0] == 2
    assert "comparison.json cannot be read" in capsys.readouterr().err


def test_an_interrupted_run_is_made_anew(tmp_path, monkeypatch, capsys):
    command = "--policy gaussian cvae --bc-only --steps 40 --seeds 0 --selection one"
    original = Trainer.train
    monkeypatch.setattr(Trainer, "train", lambda *rest: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(tmp_path, command)[0] == 130
    assert json.loads((tmp_path / "out" / "gaussian-bc" / "config.json").read_text())["interrupted"]
    monkeypatch.setattr(Trainer, "train", original)
    assert run(tmp_path, command)[0] == 0
    assert "gaussian-bc: was interrupted" in capsys.readouterr().err
    assert set(pd.read_csv(tmp_path / "out" / "summary.csv")["step"]) == {40}


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_every_study_runs_to_its_figures(tmp_path, study):
    code, out = run(tmp_path, f"--study {study} --steps 2 --seeds 0 1")
    assert code == 0
    assert (out / "figure.png").stat().st_size > 20_000
    labels = pd.read_csv(out / "summary.csv")["label"]
    assert {label.partition(",")[0] for label in labels} == set(STUDIES[study].arms)


@pytest.mark.parametrize("content", ["{}", "[]", '{"interrupted": true}', "{"])
def test_a_config_of_something_else_is_one_line(content, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text(content)
    assert run(tmp_path, "--policy gaussian")[0] == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(r"out/config\.json is (not that of a run|damaged: it is no record); remove", said)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_interrupted_training_keeps_what_there_is(tmp_path, monkeypatch):
    train = runner.Trainer.train

    def interrupted(trainer, *rest):
        if trainer.step >= 20:
            raise KeyboardInterrupt
        return train(trainer, *rest)

    monkeypatch.setattr(runner.Trainer, "train", interrupted)
    code, out = run(tmp_path, "--policy gaussian --bc-only --steps 100 --seeds 0")
    assert code == 130
    config = results.read_config(out)
    assert config["interrupted"]
    assert config["steps_done"] == 20


def test_training_leaves_the_global_generators_alone(tmp_path):
    state = torch.get_rng_state()
    run(tmp_path, "--policy gaussian --steps 2 --seeds 0")
    assert torch.equal(state, torch.get_rng_state())
