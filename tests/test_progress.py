"""A run that was cut off goes on, given the same command, and ends as one that was not."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from ablations.record import results
from ablations.report import showing
from ablations.report.showing import Shown
from ablations.run import memory, progress, runner
from run_ablation import main
from trainers.trainer import Trainer

SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 120 --eval-every 40 --compile off".split()
COMMANDS = {
    "one run": "--policy diffusion --policy.T 3 --seeds 0 1",
    "groups of seeds": "--policy gaussian --seeds 0 1 --seeds-at-once 1",
    "several runs": "--policy gaussian cvae --bc-only --seeds 0 1",
    "early stop": "--policy gaussian --bc-only --seeds 0 1 --early-stop --lr-decay",
    "parts that learn": "--preset bear --seeds 0",
    "a value": "--preset iql --seeds 0 1",
}


@pytest.fixture(autouse=True)
def at_every_stride(monkeypatch):
    """And no figures, which are drawn of the files compared here."""
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(showing, "show", lambda *rest: Shown(""))


def cut_off(monkeypatch, calls: int, error: BaseException) -> None:
    """The next training fails after so many calls."""
    train = Trainer.train

    def failing(trainer, *rest):
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise error
        return train(trainer, *rest)

    monkeypatch.setattr(Trainer, "train", failing)


def files(directory):
    """All that a run's results are, by path; numbers of a clock and the command left out."""
    found = {str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*.csv"))}
    for path in directory.rglob("config.json"):
        record = json.loads(path.read_text())
        found[str(path.relative_to(directory))] = {
            k: v for k, v in record.items() if k not in ("seconds", "environment")
        }
    return found


@pytest.mark.parametrize(("name", "calls"), [("one run", 1), *((name, 5) for name in COMMANDS)])
def test_it_ends_as_if_it_had_not_stopped(name, calls, tmp_path, monkeypatch, capsys):
    command = [*COMMANDS[name].split(), *SMALL]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        cut_off(patch, calls, ConnectionError("the machine was taken away"))
        with pytest.raises(ConnectionError):
            main([*command, "--out", str(tmp_path / "cut")])
    capsys.readouterr()
    assert main([*command, "--out", str(tmp_path / "cut")]) == 0
    assert "goes on from step" in capsys.readouterr().err
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    assert not [path for path in tmp_path.rglob("*") if "progress" in path.name or path.name.startswith(".cut")]


def test_what_ctrl_c_left_goes_on_in_its_place(tmp_path, monkeypatch, capsys):
    command = [*COMMANDS["one run"].split(), *SMALL]
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        cut_off(patch, 3, KeyboardInterrupt())
        assert main([*command, *out]) == 130
    assert json.loads((tmp_path / "out" / "config.json").read_text())["steps_done"] == 60
    assert set(results.load_metrics(tmp_path / "out")["run"]) == {"diffusion-q-max (interrupted at 60)"}
    capsys.readouterr()
    assert main([*command, "--trainer.lr", "1e-3", *out]) == 2
    assert "already holds diffusion-q-max with other trainer.lr (0.0003, not 0.001)" in capsys.readouterr().err
    assert main([*command, *out]) == 0
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert main([*command, *out]) == 0
    assert "already there" in capsys.readouterr().err


def test_what_fails_after_training_leaves_the_run(tmp_path, monkeypatch, capsys):
    command = [*COMMANDS["a value"].split(), *SMALL, "--out", str(tmp_path / "out")]
    for failure in (
        RuntimeError("a figure"),
        KeyboardInterrupt(),
        OSError(28, "No space left on device", "figure.png"),
    ):

        def fail(*arguments, failure=failure):
            raise failure

        with monkeypatch.context() as patch:
            patch.setattr(showing, "show", fail)
            if isinstance(failure, RuntimeError):
                with pytest.raises(RuntimeError):
                    main(command)
            else:
                assert main(command) == (130 if isinstance(failure, KeyboardInterrupt) else 1)
        assert json.loads((tmp_path / "out" / "config.json").read_text())["interrupted"] is False
    assert "figure.png: No space left on device" in capsys.readouterr().err
    assert main(command) == 0
    assert "already there" in capsys.readouterr().err


def test_groups_of_seeds_go_on_and_files_of_others_stay(tmp_path, monkeypatch, capsys):
    command = [*COMMANDS["groups of seeds"].replace("--seeds 0 1", "--seeds 0 1 2").split(), *SMALL]
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        cut_off(patch, 9, KeyboardInterrupt())
        assert main([*command, *out]) == 130
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["interrupted"]
    assert len(config["seeds"]) < 3
    (tmp_path / "out" / "notes.md").write_text("mine")
    assert main([*command, *out]) == 0
    assert (tmp_path / "out" / "notes.md").read_text() == "mine"
    (tmp_path / "out" / "notes.md").unlink()
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_seeds_go_on_in_the_groups_they_began_in_whatever_is_free_now(tmp_path, monkeypatch, capsys):
    command = [*COMMANDS["groups of seeds"].replace(" --seeds-at-once 1", "").split(), *SMALL]
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, "--seeds-at-once", "1", "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(memory, "fitting", lambda each, device: 1)
        cut_off(patch, 5, ConnectionError("the machine was taken away"))
        with pytest.raises(ConnectionError):
            main([*command, *out])
    capsys.readouterr()
    assert main([*command, *out]) == 0
    assert "goes on from step" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "config.json").read_text())["groups"] == [[0], [1]]
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_what_a_killed_run_left_goes_when_the_run_is_there(tmp_path):
    for name in (".out-a1b2_c3d", ".outer-a1b2_c3d", ".out-bc-a1b2_c3d"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").touch()
    assert main([*COMMANDS["a value"].split(), *SMALL, "--out", str(tmp_path / "out")]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {".outer-a1b2_c3d", ".out-bc-a1b2_c3d", "out"}


def test_a_full_disk_does_not_end_a_run(tmp_path, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress.checkpoint, "write", full)
    monkeypatch.setattr(runner.checkpoint, "save", lambda *arguments: None)
    assert main([*COMMANDS["a value"].split(), *SMALL, "--out", str(tmp_path / "out")]) == 0
    assert "No space left on device); trains on" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["options", "code", "device", "broken"])
def test_what_is_not_its_own_is_not_taken_up(change, tmp_path, monkeypatch, capsys):
    command, out = [*COMMANDS["several runs"].split(), *SMALL], ["--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        cut_off(patch, 2, ConnectionError())
        if change == "device":
            elsewhere = functools.partial(progress.Progress, device=torch.device("cuda"))
            patch.setattr(runner, "Progress", lambda run, directory, device, every: elsewhere(run, directory))
        with pytest.raises(ConnectionError):
            main([*command, *out])
    if change == "options":
        command += ["--trainer.lr", "1e-3"]
    elif change == "code":
        monkeypatch.setattr("ablations.record.environment._git_revision", lambda: "another")
    elif change == "broken":
        for ending in ("progress", "previous"):
            (tmp_path / "out" / f".gaussian-bc.0.{ending}").write_bytes(b"half of it")
    capsys.readouterr()
    assert main([*command, *out]) == 0
    said = capsys.readouterr().err
    assert "goes on" not in said
    if change in ("code", "device"):
        other = {"code": "git"}.get(change, change)
        assert f"begins anew; what was kept is of other {other}, now .gaussian-bc.0.other" in said
    assert not list((tmp_path / "out").glob(".*"))
