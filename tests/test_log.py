"""A run that is watched: a file of what was measured so far, and loggers, none of which can stop it."""

from __future__ import annotations

import importlib.util
import threading

import numpy as np
import pandas as pd
import pytest

from ablations.record import results
from ablations.report import showing
from ablations.report.showing import Shown
from ablations.run import loggers
from run_ablation import main
from trainers.trainer import Trainer

SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 120 --eval-every 40 --compile off --seeds 0 1"
ONE = ["--policy", "gaussian", "--bc-only", *SMALL.split()]
KEYS = ["step", "seed", "metric"]


@pytest.fixture(autouse=True)
def without_figures(monkeypatch, few_samples):
    monkeypatch.setattr(showing, "show", lambda *rest: Shown(""))


def values_of(frame: pd.DataFrame) -> pd.Series:
    return frame.set_index(KEYS)["value"].sort_index()


def test_it_holds_every_evaluation_and_the_losses_between(tmp_path):
    assert main([*ONE, "--log-every", "20", "--out", str(tmp_path / "out")]) == 0
    log = pd.read_csv(tmp_path / "out" / "log.csv")
    evaluations = log[log["selection"].notna()]
    pd.testing.assert_series_equal(values_of(evaluations), values_of(results.load_metrics(tmp_path / "out")))
    losses = log[log["selection"].isna()]
    assert sorted(set(losses["step"])) == [20, 40, 60, 80, 100, 120]
    assert {"actor_loss", "actor_grad_norm", "regularizer"} <= set(losses["metric"])
    training = results.load_training(tmp_path / "out")
    common = training[training["metric"].isin(losses["metric"])]
    pd.testing.assert_series_equal(values_of(common), values_of(losses[losses["step"].isin([40, 80, 120])]))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    ("every", "steps"), [("50", [60, 100, 120]), ("1000", [120]), ("1", [20, 40, 60, 80, 100, 120])]
)
def test_losses_come_at_the_looks_next_to_the_steps_asked_for(every, steps, tmp_path):
    assert main([*ONE, "--log-every", every, "--out", str(tmp_path / "out")]) == 0
    log = pd.read_csv(tmp_path / "out" / "log.csv")
    assert sorted(set(log[log["selection"].isna()]["step"])) == steps


@pytest.mark.parametrize("more", [[], ["--seeds-at-once", "1"]])
def test_half_a_run_can_be_plotted(more, tmp_path, monkeypatch):
    """What a run that is killed leaves beside its directory is what the whole one has up to there."""
    train, calls = Trainer.train, 0

    def killed(trainer, *rest):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise ConnectionError
        return train(trainer, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", killed)
        with pytest.raises(ConnectionError):
            main([*ONE, *more, "--out", str(tmp_path / "out")])
    (left,) = tmp_path.glob("out*.log.csv")
    half = pd.read_csv(left)
    assert set(half["step"]) == {20, 40, 60}
    assert main([*ONE, "--out", str(tmp_path / "out")]) == 0
    whole = pd.read_csv(tmp_path / "out" / "log.csv")
    pd.testing.assert_frame_equal(
        half.reset_index(drop=True),
        whole[(whole["step"] <= 60) & whole["seed"].isin(half["seed"])].reset_index(drop=True),
    )
    assert not list(tmp_path.glob("*.log.csv"))


def test_where_it_cannot_be_written_training_goes_on(tmp_path, capsys):
    (tmp_path / "out.log.csv").mkdir()
    assert main([*ONE, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("cannot write") == 1
    assert not (tmp_path / "out" / "log.csv").exists()


class Failing:
    package = "numpy"

    def __init__(self, *rest):
        pass

    def note(self, step, values):
        raise BrokenPipeError("its process is gone")

    def end(self):
        raise AssertionError


class Hanging(Failing):
    def note(self, step, values):
        threading.Event().wait()


@pytest.mark.parametrize(("logger", "said"), [(Failing, "its process is gone"), (Hanging, "did not end within")])
def test_one_that_fails_or_hangs_stops_no_run(logger, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", logger)
    monkeypatch.setattr(loggers, "PATIENCE", 0.2)
    assert main([*ONE, "--log", "tensorboard", "--out", str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert error.count(said) == 1
    assert "gaussian-bc: tensorboard" in error
    assert main([*ONE, "--out", str(tmp_path / "without")]) == 0
    pd.testing.assert_series_equal(
        values_of(results.load_metrics(tmp_path / "out")), values_of(results.load_metrics(tmp_path / "without"))
    )


@pytest.mark.parametrize("name", list(loggers.LOGGERS))
def test_a_package_that_is_missing_is_named_before_training(name, tmp_path, monkeypatch, refused):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    package = loggers.LOGGERS[name].package
    assert f"--log {name}: needs the package {package}; install it with: pip install {package}" in refused(
        *ONE, "--log", name, "--out", str(tmp_path / "out")
    )
    assert not list(tmp_path.iterdir())


def test_tensorboard_reads_the_recorded_values(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert main([*ONE, "--log", "csv", "tensorboard", "--out", str(tmp_path / "out")]) == 0
    metrics = values_of(results.load_metrics(tmp_path / "out"))
    means = metrics.groupby(level=["step", "metric"]).mean()
    for part in ("seed-0", "seed-1", "mean"):
        events = reader.EventAccumulator(str(tmp_path / "tensorboard" / "out" / part))
        events.Reload()
        names = {tag.removeprefix("evaluation/") for tag in events.Tags()["scalars"] if tag.startswith("evaluation/")}
        assert names == set(metrics.index.get_level_values("metric"))
        assert "training/actor_loss" in events.Tags()["scalars"]
        for name in names:
            for event in events.Scalars(f"evaluation/{name}"):
                key = (event.step, name)
                expected = means[key] if part == "mean" else metrics[event.step, int(part[-1]), name]
                assert event.value == np.float32(expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_others_write_without_a_network(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip(name)
    assert main([*ONE, "--log", name, "--out", str(tmp_path / "out")]) == 0
    assert "failed" not in capsys.readouterr().err
    written = {"wandb": "wandb/offline-run-*/*.wandb", "trackio": "trackio/*.db"}[name]
    assert list(tmp_path.glob(written))
