"""Signals: the first ends a run where it can go on from, a second ends it at once, its echo does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ablations.run import interrupts

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def listened_to():
    """Below `nohup` a hang-up is ignored, and stays so."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def no_echo(monkeypatch):
    monkeypatch.setattr(interrupts, "ECHO", 0.0)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_interrupts_and_gives_the_code_of_a_shell(number):
    with interrupts.listening():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        assert interrupts.asked() == number
        assert interrupts.exit_code() == 128 + number


@pytest.mark.parametrize("number", SIGNALS)
def test_what_must_not_be_cut_in_two_is_finished(number):
    with interrupts.listening(), interrupts.deferred():
        signal.raise_signal(number)
        assert interrupts.asked() == number
        with pytest.raises(KeyboardInterrupt), interrupts.breakable():
            pytest.fail("a signal that was noted before interrupts what may be broken off")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_sent_to_the_process_and_its_group_is_one(number):
    with interrupts.listening(), interrupts.deferred():
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert interrupts.asked() == number


def test_another_signal_is_a_second_one_however_soon():
    with interrupts.listening(), interrupts.deferred():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(interrupts.AtOnce):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("no_echo")
@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_one_ends_at_once(number):
    with interrupts.listening(), interrupts.deferred():
        signal.raise_signal(number)
        with pytest.raises(interrupts.AtOnce):
            signal.raise_signal(number)
        assert signal.getsignal(number) is signal.SIG_DFL


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with interrupts.listening():
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.slow
def test_a_run_told_twice_as_timeout_does_keeps_its_progress(tmp_path):
    """GNU timeout signals its child and then its own group, in which the child is."""
    command = "--policy gaussian --bc-only --seeds 0 --steps 10000000 --eval-every 200 --compile off --device cpu"
    script, said = str(Path(__file__).parents[1] / "run_ablation.py"), tmp_path / "said"
    with said.open("w") as to:
        run = subprocess.Popen(
            [sys.executable, script, *command.split(), "--out", str(tmp_path / "run")],
            stdout=to,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while " at 200" not in said.read_text() and run.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(run.pid, signal.SIGTERM)
        os.killpg(run.pid, signal.SIGTERM)
        assert run.wait(timeout=60) == 143, said.read_text()[-500:]
    finally:
        run.kill()
    assert "this goes on where it stopped" in said.read_text()
    assert list(tmp_path.rglob("*.progress"))
