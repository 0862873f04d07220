"""Processes that share a directory do not train one run twice, nor spoil what another makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from records import assert_same_run

from ablations import comparison, locks
from run_ablation import main

ROOT = Path(__file__).resolve().parent.parent
PAIR = "--policy gaussian cvae --bc-only --steps 3 --seeds 0"
HOLDER = """
import sys, time
from pathlib import Path
from ablations import locks
with locks.taken(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def run(out: Path, command: str) -> int:
    return main([*command.split(), "--out", str(out)])


def holding(place: Path) -> subprocess.Popen[str]:
    """Another process that has taken the run of `place`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(place)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_a_run_is_one_process_s_until_it_ends_even_if_killed(tmp_path):
    process = holding(tmp_path / "run")
    with locks.taken(tmp_path / "run") as ours, locks.taken(tmp_path / "other") as other:
        assert (ours, other) == (False, True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locks.taken(tmp_path / "run") as ours:
        assert ours
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError()])
def test_where_the_file_system_has_no_locks_runs_are_made_all_the_same(tmp_path, monkeypatch, error):
    def refuse(self):
        raise error

    monkeypatch.setattr(locks.FileLock, "acquire", refuse)
    assert run(tmp_path / "out", "--policy gaussian --bc-only --steps 3 --seeds 0") == 0


def test_a_run_that_another_process_trains_is_refused(tmp_path, capsys):
    out = tmp_path / "out"
    with locks.taken(out):
        assert run(out, "--policy gaussian --bc-only --steps 3 --seeds 1") == 2
    assert f"--out {out}: another process is training this run" in capsys.readouterr().err.splitlines()[-1]
    assert not any(tmp_path.iterdir())


def begun(out: Path) -> None:
    """The pair's comparison as another process begins it."""
    out.mkdir()
    (out / "comparison.json").write_text(json.dumps({"study": None, "runs": ["gaussian-bc", "cvae-bc"]}))


def test_a_comparison_leaves_to_others_what_they_train(tmp_path, capsys):
    out = tmp_path / "out"
    begun(out)
    with locks.taken(out / "gaussian-bc"):
        assert run(out, PAIR) == 0
        said = capsys.readouterr().err
    assert "gaussian-bc: another process is training it" in said
    assert "gaussian-bc: left to other processes; the same command later shows all" in said
    assert list(pd.read_csv(out / "summary.csv")["label"].unique()) == ["cvae-bc"]
    assert run(out, PAIR) == 0
    assert list(pd.read_csv(out / "summary.csv")["label"].unique()) == ["gaussian-bc", "cvae-bc"]
    assert not list(out.glob(".*"))


def test_a_comparison_of_which_others_train_all_is_refused(tmp_path, capsys):
    out = tmp_path / "out"
    begun(out)
    with locks.taken(out / "gaussian-bc"), locks.taken(out / "cvae-bc"):
        assert run(out, PAIR) == 2
    assert "other processes are training gaussian-bc, cvae-bc; wait for them" in capsys.readouterr().err


def test_what_another_process_made_in_the_meantime_is_looked_at(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    assert run(out, PAIR) == 0
    monkeypatch.setattr(comparison, "claim", lambda *of: None)
    assert run(out, PAIR.replace("--steps 3", "--steps 4")) == 2
    assert "already holds gaussian-bc with other steps" in capsys.readouterr().err


def test_the_same_command_twice_at_once_makes_each_run_once(tmp_path):
    arguments = [
        sys.executable,
        "run_ablation.py",
        *PAIR.replace("--steps 3", "--steps 300").split(),
        "--compile",
        "off",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    twice = [
        subprocess.Popen(
            [*arguments, "--out", str(tmp_path / "out")], cwd=ROOT, env=environment, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [process.communicate()[1].decode() for process in twice]
    assert [process.returncode for process in twice] == [0, 0], said
    assert run(tmp_path / "alone", f"{PAIR.replace('--steps 3', '--steps 300')} --compile off") == 0
    for label in ("gaussian-bc", "cvae-bc"):
        assert sum(f"{label}: 100%" in one for one in said) == 1
        assert_same_run(tmp_path / "out" / label, tmp_path / "alone" / label)
