"""The same runs of other seeds, joined: equal to training them together, or refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from records import assert_same_run, written

from ablations.record import results
from ablations.record.integrity import write_json
from run_ablation import main

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 16 --compile off --steps 4 --eval-every 2".split()
COMPARISON = "--policy gaussian cvae --selection one argmax-q:candidates=3".split()
ALONE = ("--policy", "gaussian", "--bc-only")

pytestmark = pytest.mark.usefixtures("few_samples")


@pytest.fixture
def made(tmp_path):
    """Makes a directory of results: its name, its seeds, and what else the command says."""

    def make(name, seeds, *arguments):
        assert main([*SMALL, *arguments, "--seeds", *map(str, seeds), "--out", str(tmp_path / name)]) == 0
        return tmp_path / name

    return make


def joined(out, *directories):
    assert main(["--join", *map(str, directories), "--out", str(out)]) == 0
    return out


def changed(run: Path, **values) -> Path:
    write_json(run / "config.json", {**results.read_config(run), **values})
    return run


def of_revision(run: Path, revision: str) -> Path:
    return changed(run, environment={**results.read_config(run)["environment"], "git": revision})


def test_a_comparison_joined_is_that_of_all_seeds(tmp_path, made, capsys):
    together = made("together", (4, 7, 1), *COMPARISON)
    table = capsys.readouterr().out.partition("results:")[0].strip()
    both = joined(tmp_path / "both", made("a", (4, 7), *COMPARISON), made("b", (1,), *COMPARISON))
    printed = capsys.readouterr().out
    assert table in printed
    assert f"figure:  {both / 'figure.png'}" in printed
    assert_same_run(together, both)
    assert (both / "comparison.json").read_text() == (together / "comparison.json").read_text()
    for label in ("gaussian-q-max", "cvae-q-max"):
        assert_same_run(together / label, both / label)
        config = results.read_config(both / label)
        assert config["seeds"] == [4, 7, 1]
        assert config["groups"] == [[4, 7], [1]]
        stored = [torch.load(out / label / "checkpoint.pt", weights_only=True) for out in (together, both)]
        for name, tensor in stored[0]["state"]["critic"].items():
            torch.testing.assert_close(tensor, stored[1]["state"]["critic"][name], rtol=1e-5, atol=1e-6)


def test_a_run_joined_is_a_run_and_can_be_joined_again(tmp_path, made, capsys):
    parts = [of_revision(made(name, seeds, *ALONE), name) for name, seeds in (("a", [3]), ("b", [1]), ("c", [0, 2]))]
    first = joined(tmp_path / "first", *parts[:2])
    more = joined(tmp_path / "more", first, parts[2])
    assert capsys.readouterr().err.endswith("gaussian-bc: not all seeds were made with the same git\n")
    config = results.read_config(more)
    assert config["groups"] == [[3], [1], [0, 2]]
    assert [made["git"] for made in config["environments"]] == ["a", "b", "c"]
    assert_same_run(made("together", (3, 1, 0, 2), *ALONE), more)
    # it is the run of the command with all the seeds, in whatever order
    made("more", (0, 1, 2, 3), *ALONE)
    assert "gaussian-bc: already there" in capsys.readouterr().err


def test_a_run_that_only_one_of_them_has_stays_and_is_told(tmp_path, made, capsys):
    a, b = made("a", (0, 1), *COMPARISON), made("b", (2,), *COMPARISON)
    shutil.rmtree(b / "cvae-q-max")
    capsys.readouterr()
    both = joined(tmp_path / "both", b, a)
    printed, said = capsys.readouterr()
    assert said == f"cvae-q-max: is not in {b}\n"
    assert "over 2 to 3 seeds" in printed
    assert results.read_config(both / "gaussian-q-max")["seeds"] == [2, 0, 1]
    assert results.read_config(both / "cvae-q-max")["seeds"] == [0, 1]


def test_a_study_joined_has_its_figures_and_can_be_completed(tmp_path, made, capsys):
    study = ("--study", "coupling", "--only")
    parts = [made(name, seeds, *study, "gaussian") for name, seeds in (("a", [0]), ("b", [1]))]
    both = joined(tmp_path / "both", *parts)
    assert (both / "comparison.json").read_text() == (parts[0] / "comparison.json").read_text()
    assert {path.name for path in both.glob("*.png")} == {path.name for path in parts[0].glob("*.png")}
    made("both", (0, 1), *study, "cvae")
    assert list(pd.read_csv(both / "summary.csv")["label"].unique()) == ["gaussian", "cvae"]


@pytest.mark.parametrize("name", ["training.csv", "checkpoint.pt"])
def test_a_file_that_not_all_have_is_left_out_and_said(tmp_path, made, capsys, name):
    a, b = made("a", (0, 2), *ALONE), made("b", (1,), *ALONE)
    (b / name).unlink()
    capsys.readouterr()
    both = joined(tmp_path / "both", a, b)
    gone = f"gaussian-bc: {name} is not there any more ({b})\n"
    assert capsys.readouterr().err == f"{gone}gaussian-bc: {name} is not in all of its directories, left out\n"
    left = {path.name for path in a.iterdir()} - {path.name for path in both.iterdir()}
    assert left - {"differences.csv"} == {name}


def test_seeds_that_stopped_early_are_as_long_as_the_longest(tmp_path):
    options = [*ALONE, "--steps", "100", "--eval-every", "10", "--early-stop"]
    out = []
    for name, seeds in (("together", "0 1 2"), ("a", "0"), ("b", "1"), ("c", "2")):
        small = [word for word in SMALL if word not in ("--steps", "4", "--eval-every", "2")]
        assert main([*small, *options, "--seeds", *seeds.split(), "--out", str(tmp_path / name)]) == 0
        out.append(tmp_path / name)
    together, *parts = out
    assert len({results.read_config(part)["steps_done"] for part in parts}) > 1
    both = joined(tmp_path / "both", *parts)
    frames = [pd.read_csv(directory / "metrics.csv") for directory in (together, both)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-5, atol=1e-6)
    for name in ("steps_done", "halted"):
        assert results.read_config(both)[name] == results.read_config(together)[name]


def test_what_is_damaged_is_one_line(tmp_path, made, capsys):
    a, b = made("a", (0,), *ALONE), made("b", (1,), *ALONE)
    whole = (b / "metrics.csv").read_text()
    rows = whole.splitlines(keepends=True)
    for file, damage, said in [
        ("metrics.csv", b"", "its metrics.csv cannot be read"),
        ("metrics.csv", rows[0].encode(), "its metrics.csv cannot be read"),
        ("metrics.csv", "".join(rows[: len(rows) // 2 + 1]).encode(), "it is not the file that was recorded"),
        ("samples.npz", b"x", "its samples.npz cannot be read"),
        ("checkpoint.pt", b"", "its checkpoint.pt cannot be read"),
        ("training.csv", b'"', "its training.csv cannot be read"),
        ("config.json", b"[1]", "b/config.json is damaged: it is no record"),
    ]:
        kept = (b / file).read_bytes()
        (b / file).write_bytes(damage)
        assert main(["--join", str(a), str(b), "--out", str(tmp_path / "out")]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("run_ablation.py: error: ")
        assert said in error
        assert "Traceback" not in error
        (b / file).write_bytes(kept)
    assert not (tmp_path / "out").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_what_cannot_be_joined_is_one_line(tmp_path, capsys):
    def run(name, seeds, label="bc", **config):
        task = config.get("task", "hopper-medium-v2")
        place = written(tmp_path / name / label, [[1.0] * len(seeds)], [[0.1] * len(seeds)], task)
        changed(place, steps_done=50, seeds=seeds, **config)
        for table in ("metrics", "training"):
            rows = pd.read_csv(place / f"{table}.csv")
            rows.assign(seed=seeds * (len(rows) // len(seeds))).to_csv(place / f"{table}.csv", index=False)
        write_json(tmp_path / name / "comparison.json", {"study": None, "runs": [label]})
        return tmp_path / name

    a = run("a", [0, 1])
    (tmp_path / "empty").mkdir()
    for other, said in [
        ([], "--join: one directory alone is whole"),
        ([tmp_path / "none"], "none is not the directory of a run or comparison"),
        ([tmp_path / "empty"], "empty is not the directory of a run or comparison"),
        ([run("b", [2, 1])], f"seed 1 is in {a}/bc and in {tmp_path}/b/bc; it may be once"),
        ([run("d", [2], precision="bf16")], "in precision"),
        ([run("e", [2], interrupted=True)], "e/bc was interrupted; let it go on to its end"),
        ([run("f", [2], "other", task="walker2d-medium-v2")], "runs of several tasks"),
        ([run("g", [2]) / "bc"], "bc is one run, and another a comparison"),
        ([a, "--steps", "3"], "--steps: --join reads what is there and takes --out and --all-metrics alone"),
        ([run("h", [2]), "--out", a], "already exists"),
    ]:
        out = [] if "--out" in other else ["--out", tmp_path / "out"]
        assert main(["--join", *map(str, [a, *other, *out])]) == 2
        error = capsys.readouterr().err
        assert error.startswith("run_ablation.py: error: ")
        assert said in error.splitlines()[-1]
    assert main(["--join", str(a / "bc"), str(run("i", [2], "other") / "other"), "--out", str(tmp_path / "out")]) == 2
    assert "bc, other are not the same run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_options_that_differ_are_named(tmp_path, made, capsys):
    a, b = made("a", (0,), *ALONE), made("b", (1,), *ALONE, "--policy.bound", "tanh")
    assert json.loads((b / "config.json").read_text())["options"]["policy"]["bound"] == "tanh"
    assert main(["--join", str(a), str(b), "--out", str(tmp_path / "out")]) == 2
    assert f"{b} differs from {a} in policy.bound (tanh, not none)\n" in capsys.readouterr().err
