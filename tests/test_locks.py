"""Processes that share a directory do not train one run twice, nor spoil what another makes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from records import assert_same_run

from ablations.command.cli import parse
from ablations.experiment import conduct
from ablations.record.directories import new_directory
from ablations.report import showing
from ablations.run import claims, runner
from core import locks
from run_ablation import main

ROOT = Path(__file__).resolve().parent.parent
PAIR = "--policy gaussian cvae --bc-only --steps 3 --seeds 0"
SECONDS = 30
HOLDER = """
import sys, time
from pathlib import Path
from core import locks
with locks.taken(Path(sys.argv[1])) as ours:
    print(ours, flush=True)
    time.sleep(60)
"""


def run(out: Path, command: str) -> int:
    return main([*command.split(), "--out", str(out)])


def begun(out: Path) -> None:
    """The pair's comparison as another process begins it."""
    out.mkdir()
    (out / "comparison.json").write_text(json.dumps({"study": None, "runs": ["gaussian-bc", "cvae-bc"]}))


def labels(out: Path) -> list[str]:
    return list(pd.read_csv(out / "summary.csv")["label"].unique())


@pytest.fixture
def soon(monkeypatch):
    monkeypatch.setattr(locks, "SOON", 0.1)


def test_a_run_is_one_process_s_until_it_ends_even_if_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    with locks.taken(tmp_path / "run", 0) as ours, locks.taken(tmp_path / "other", 0) as other:
        assert (ours, other) == (False, True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with locks.taken(tmp_path / "run", 0, "me") as ours:
        assert ours
        assert locks.holder(tmp_path / "run") == "me"
    assert not any(tmp_path.iterdir())
    assert locks.holder(tmp_path / "run") == ""


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_the_file_system_has_no_locks_runs_are_made_all_the_same(tmp_path, monkeypatch, number):
    fcntl = pytest.importorskip("fcntl")

    def refuse(*of):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(tmp_path / "out", PAIR) == 0
    assert labels(tmp_path / "out") == ["gaussian-bc", "cvae-bc"]
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".lock"]


def test_a_lock_keeps_other_users_out_too(tmp_path):
    with locks.taken(tmp_path / "run"):
        assert (tmp_path / ".run.lock").stat().st_mode & 0o666 == 0o666


def test_a_run_that_another_process_trains_is_refused(tmp_path, capsys, soon):
    out = tmp_path / "out"
    for command in (PAIR, "--policy gaussian --bc-only --steps 3 --seeds 1"):
        with locks.taken(out):
            assert run(out, command) == 2
        assert f"--out {out}: another process is training a run in it" in capsys.readouterr().err.splitlines()[-1]
        assert not any(tmp_path.iterdir())


def test_a_comparison_leaves_to_others_what_they_train(tmp_path, capsys):
    out = tmp_path / "out"
    begun(out)
    with locks.taken(out / "gaussian-bc"):
        assert run(out, PAIR) == 0
        said = capsys.readouterr().err
    assert "gaussian-bc: another process is training it" in said
    assert "gaussian-bc: left to other processes; the same command later shows all" in said
    assert labels(out) == ["cvae-bc"]
    assert run(out, PAIR) == 0
    assert labels(out) == ["gaussian-bc", "cvae-bc"]
    assert not list(out.glob(".*"))


def test_a_run_whose_process_is_gone_is_taken_up(tmp_path, monkeypatch, capsys):
    out, held = tmp_path / "out", contextlib.ExitStack()
    begun(out)
    held.enter_context(locks.taken(out / "gaussian-bc"))
    original = runner.write
    # it lets go while the other run is being trained
    monkeypatch.setattr(runner, "write", lambda *of: (held.close(), original(*of)))
    assert run(out, PAIR) == 0
    assert "gaussian-bc: another process is training it" in capsys.readouterr().err
    assert labels(out) == ["gaussian-bc", "cvae-bc"]


def test_where_others_train_all_there_is_nothing_to_do(tmp_path, capsys):
    out = tmp_path / "out"
    begun(out)
    with locks.taken(out / "gaussian-bc"), locks.taken(out / "cvae-bc"):
        assert run(out, PAIR) == 0
    assert "gaussian-bc, cvae-bc: left to other processes" in capsys.readouterr().err


@pytest.mark.parametrize(("there", "named"), [("--steps 4", "steps (4, not 3)"), ("--seeds 0 1", "seeds")])
def test_a_run_with_other_options_in_another_s_hands_is_refused(tmp_path, capsys, there, named):
    out = tmp_path / "out"
    begun(out)
    flag = there.partition(" ")[0]
    others = parse([*re.sub(rf"{flag} \d", there, PAIR).split(), "--out", str(out)]).runs[0]
    with locks.taken(out / "gaussian-bc", by=claims.said_of(others)):
        assert run(out, PAIR) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"another process is training gaussian-bc with other {named}" in said


@pytest.mark.parametrize(
    "other", [PAIR.replace("3", "4"), PAIR.replace("cvae", "deterministic"), PAIR.replace("cvae", "")]
)
def test_what_another_process_began_since_the_command_looked_is_seen(tmp_path, monkeypatch, capsys, other):
    out = tmp_path / "out"
    assert run(out, PAIR) == 0
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    monkeypatch.setattr(conduct, "claim", lambda *of: None)
    assert run(out, other) == 2
    assert f"--out {out}" in capsys.readouterr().err.splitlines()[-1]
    assert before == {path: path.read_bytes() for path in out.rglob("*.*")}


def test_no_run_comes_while_figures_are_drawn(tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert run(out, PAIR) == 0
    drawing, seen = showing.FIGURES["samples"], []

    def come() -> None:
        with new_directory(out / "late", locks.alone(out)) as partial:
            (partial / "config.json").write_text("{}")

    def slow(*of) -> None:
        comes.start()
        time.sleep(0.3)
        seen.append((out / "late").exists())
        drawing(*of)

    comes = threading.Thread(target=come)
    monkeypatch.setitem(showing.FIGURES, "samples", slow)
    assert run(out, PAIR) == 0
    comes.join()
    assert seen == [False]
    assert (out / "late").exists()


def test_two_processes_share_out_a_comparison(tmp_path):
    command = PAIR.replace("--steps 3", "--steps 1000") + " --compile off"
    out = tmp_path / "out"
    first = subprocess.Popen(
        [sys.executable, "run_ablation.py", *command.split(), "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + SECONDS
    while not locks.holder(out / "gaussian-bc") and time.monotonic() < until:
        time.sleep(0.01)
    assert run(out, command) == 0
    said = first.communicate()[1]
    assert first.returncode == 0, said
    assert "gaussian-bc, 1 of 2: 100%" in said
    assert "cvae-bc, 2 of 2: 100%" not in said
    assert labels(out) == ["gaussian-bc", "cvae-bc"]
    assert run(tmp_path / "alone", command) == 0
    for label in ("gaussian-bc", "cvae-bc"):
        assert_same_run(out / label, tmp_path / "alone" / label)


@pytest.mark.parametrize("said", ["", "not json", "3", "[]", '{"label": 5}', '{"names": {}}', "[" * 9000])
def test_a_lock_that_says_anything_is_no_traceback(said, tmp_path):
    """What another process says of its run is read from a file that anybody may have written."""
    (run,) = parse(["--policy", "gaussian", "--bc-only"]).runs
    with locks.taken(tmp_path / "run", by=said):
        claims.refuse_other_holder(tmp_path / "run", run)
