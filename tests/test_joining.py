"""The same runs of other seeds, joined: equal to training them together, or refused in one line."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from records import written

from ablations import results
from run_ablation import main
from tasks import bandits

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 16 --compile off --steps 4 --eval-every 2".split()
COMPARISON = "--policy gaussian cvae --selection one argmax-q:candidates=3".split()


@pytest.fixture(autouse=True)
def few_samples(monkeypatch):
    monkeypatch.setattr(bandits, "EVALUATION_SAMPLES", 256)
    monkeypatch.setattr(bandits, "KEPT_SAMPLES", 64)


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


def assert_same_run(a, b):
    """Rows in the same order; numbers to rounding, since torch rounds a batch of products by its size."""
    assert {path.name for path in a.iterdir()} == {path.name for path in b.iterdir()}
    for file in a.glob("*.csv"):
        pd.testing.assert_frame_equal(pd.read_csv(file), pd.read_csv(b / file.name), rtol=1e-5, atol=1e-6)
    if (a / "samples.npz").exists():
        mine, its = results.load_samples(a), results.load_samples(b)
        assert mine.keys() == its.keys()
        for name, array in mine.items():
            np.testing.assert_allclose(array, its[name], rtol=1e-4, atol=1e-5)


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


def test_a_run_joined_goes_on_as_a_run_and_can_be_joined_again(tmp_path, made):
    options = ("--policy", "gaussian", "--bc-only")
    first = joined(tmp_path / "first", made("a", (0,), *options), made("b", (1,), *options))
    more = joined(tmp_path / "more", first, made("c", (2, 3), *options))
    assert results.read_config(more)["groups"] == [[0], [1], [2, 3]]
    together = made("together", (0, 1, 2, 3), *options)
    assert_same_run(together, more)
    assert made("more", (0, 1, 2, 3), *options) == more


def test_a_run_that_only_one_of_them_has_stays(tmp_path, made, capsys):
    a, b = made("a", (0, 1), *COMPARISON), made("b", (2,), *COMPARISON)
    shutil.rmtree(b / "cvae-q-max")
    both = joined(tmp_path / "both", b, a)
    assert results.read_config(both / "gaussian-q-max")["seeds"] == [2, 0, 1]
    assert results.read_config(both / "cvae-q-max")["seeds"] == [0, 1]
    assert "3 seeds" in capsys.readouterr().out


def test_a_study_joined_has_its_figures(tmp_path, made):
    parts = [made(name, seeds, "--study", "coupling", "--only", "gaussian") for name, seeds in (("a", [0]), ("b", [1]))]
    both = joined(tmp_path / "both", *parts)
    assert json.loads((both / "comparison.json").read_text())["study"] == "coupling"
    assert {path.name for path in both.glob("*.png")} == {path.name for path in parts[0].glob("*.png")}


def test_records_without_weights_or_samples_are_joined_as_far_as_they_go(tmp_path, made, capsys):
    parts = [made(name, seeds, "--policy", "gaussian", "--bc-only") for name, seeds in (("a", [0, 2]), ("b", [1]))]
    for part, revision in zip(parts, ("one", "two"), strict=True):
        (part / "checkpoint.pt").unlink()
        (part / "training.csv").unlink()
        config = results.read_config(part)
        results.write_json(part / "config.json", {**config, "environment": {**config["environment"], "git": revision}})
    capsys.readouterr()
    both = joined(tmp_path / "both", *parts)
    assert capsys.readouterr().err == "gaussian-bc: not all seeds were made with the same git\n"
    assert not (both / "checkpoint.pt").exists()
    assert [made["git"] for made in results.read_config(both)["environments"]] == ["one", "two"]
    assert results.load_samples(both)["actions_0"].shape == (3, 64, 2)


def test_what_cannot_be_joined_is_one_line(tmp_path, capsys):
    def run(name, seeds, label="bc", **config):
        place = written(tmp_path / name / label, [[1.0] * len(seeds)], [[0.1] * len(seeds)])
        record = results.read_config(place)
        results.write_json(place / "config.json", {**record, **config, "seeds": seeds})
        for table in ("metrics", "training"):
            rows = pd.read_csv(place / f"{table}.csv")
            rows.assign(seed=seeds * (len(rows) // len(seeds))).to_csv(place / f"{table}.csv", index=False)
        results.write_json(tmp_path / name / "comparison.json", {"study": None, "runs": [label]})
        return tmp_path / name

    a = run("a", [0, 1])
    broken = run("broken", [2])
    (broken / "bc" / "metrics.csv").write_text("")
    (tmp_path / "empty").mkdir()
    for other, said in [
        ([], "--join: one directory alone is whole"),
        ([tmp_path / "none"], "none is not the directory of a run or comparison"),
        ([tmp_path / "empty"], "empty is not the directory of a run or comparison"),
        ([run("b", [2, 1])], f"seed 1 of bc is in {a}/bc and in {tmp_path}/b/bc; it may be once"),
        ([run("c", [2], options={"policy": {"T": 5}})], "c/bc differs from"),
        ([run("d", [2], precision="bf16")], "in precision"),
        ([run("e", [2], interrupted=True)], "e/bc was interrupted; let it go on to its end"),
        ([run("f", [2], "other", task="walker2d-medium-v2")], "runs of several tasks"),
        ([run("g", [2]) / "bc"], "bc is one run, and another a comparison"),
        ([broken], "broken/bc: its metrics.csv cannot be read"),
        ([a, "--steps", "3"], "--steps: --join reads what is there and takes --out alone"),
        ([run("h", [2]), "--out", a], "already exists"),
    ]:
        out = [] if "--out" in other else ["--out", tmp_path / "out"]
        assert main(["--join", *map(str, [a, *other, *out])]) == 2
        error = capsys.readouterr().err
        assert error.startswith("run_ablation.py: error: ")
        assert said in error
        assert error.count("\n") == 1
    assert main(["--join", str(a / "bc"), str(run("i", [2], "other") / "other"), "--out", str(tmp_path / "out")]) == 2
    assert "bc, other are not the same run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
