"""No damage to what a finished run has left gives other numbers in silence, a traceback or a wait, in any command.

Of each file of a comparison, each way in `damages.py`, and each command that reads it: what is shown is what is shown
of the whole one, or the exit code is not 0 and one line names the directory.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
from pathlib import Path

import pytest
from damages import DRAWN, FIXED
from records import written

from ablations.record import results
from ablations.record.integrity import FILES, UNREADABLE, bound, read_json, write_json
from run_ablation import main

SMALL = "--policy gaussian --improvement q-max --network.hidden 8 --network.depth 1 --trainer.batch 8".split()
SMALL += ["--steps", "4", "--eval-every", "2", "--compile", "off"]
TRAIN = [*SMALL, "--selection", "one", "--improvement.eta", "1", "2", "--seeds"]
#: seconds within which each command here has ended many times over
LONG = 60

RUN_FILES = ("config.json", "metrics.csv", "training.csv", "samples.npz", "checkpoint.pt")


class Waits(BaseException):
    """A command that does not end."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Comparisons of two runs: of seed 0 and of seed 1 of the bandit, and of two tasks with scores."""
    place = tmp_path_factory.mktemp("damage") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.bandits.EVALUATION_SAMPLES", 200)
        patch.setattr("tasks.bandits.KEPT_SAMPLES", 50)
        for seed in "01":
            assert main([*TRAIN, seed, "--out", str(place / seed)]) == 0
    for name, task, add in (("hopper", "hopper-medium-v2", 0.0), ("walker", "walker2d-medium-v2", 7.0)):
        for label, base in (("bc", 10.0), ("q", 20.0)):
            scores = [[base + add, base + add + 1.5], [base + add + 3, base + add + 4]]
            run = written(place / name / label, scores, [[0.1, 0.2], [0.1, 0.3]], task, steps_done=100)
            write_json(run / "config.json", {**results.read_config(run), FILES: bound_of(run)})
        write_json(place / name / "comparison.json", {"study": None, "runs": ["bc", "q"]})
    return place


def bound_of(run: Path) -> dict[str, str]:
    return {name: of for name, of in bound(run).items() if name != "config.json"}


class Disk:
    """A copy of `whole`, one file of which is damaged, and what commands say and leave of it."""

    def __init__(self, whole: Path, capsys: pytest.CaptureFixture[str], as_whole: dict[str, str]):
        self.whole, self.place, self._capsys, self._as_whole = whole, whole.parent / "disk", capsys, as_whole

    def fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.whole, self.place)

    def command(self, name: str) -> list[str]:
        at = {place: str(self.place / place) for place in ("0", "1", "hopper", "walker", "out")}
        label = self.labels[0]
        return {
            "again": [*TRAIN, "0", "--out", at["0"]],
            "join": ["--join", at["0"], at["1"], "--out", at["out"]],
            "verify": ["--verify", at["0"], at["1"], at["hopper"], at["walker"]],
            "aggregate": ["--aggregate", at["hopper"], at["walker"], "--out", at["out"]],
            "critic": [*SMALL, "--seeds", "0", "--critic-from", f"{at['0']}/{label}", "--out", at["out"]],
        }[name]

    @property
    def labels(self) -> list[str]:
        return json.loads((self.whole / "0" / "comparison.json").read_text())["runs"]

    def said(self, command: str) -> tuple[int, str, str]:
        """Exit code, standard output and error of a command, which ends."""

        def wait(*of: object) -> None:
            raise Waits(command)

        before = signal.signal(signal.SIGALRM, wait)
        signal.alarm(LONG)
        try:
            code = main(self.command(command))
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        return code, *self._capsys.readouterr()

    def as_whole(self, command: str) -> str:
        """What is shown where nothing is damaged."""
        if command not in self._as_whole:
            self.fresh()
            code, shown, _ = self.said(command)
            assert code == 0
            self._as_whole[command] = shown + self.tables()
        return self._as_whole[command]

    def tables(self) -> str:
        """What a command has written to be read."""
        return "".join(path.read_text() for path in sorted((self.place / "out").rglob("*.csv")))

    def files(self) -> list[str]:
        """Of each place all that was written, and not drawn or summed up from that."""
        found = [f"0/{label}/{name}" for label in self.labels for name in RUN_FILES]
        scored = [f"hopper/{label}/{name}" for label in ("bc", "q") for name in RUN_FILES[:3]]
        return ["0/comparison.json", "hopper/comparison.json", *found, *scored]

    def check(self, file: str, damage: str, command: str, draw: random.Random) -> None:
        expected = self.as_whole(command)
        self.fresh()
        path = self.place / file
        other = self.place / {"0": "1", "hopper": "walker"}[file.split("/")[0]] / file.partition("/")[2]
        {**FIXED, **DRAWN}[damage](path, other, draw)
        same = self._is_the_same(file)
        code, shown, error = self.said(command)
        names = path.name in error + shown
        if code == 0:
            assert command != "verify" or same, "a damage is not seen"
            if command != "verify":
                assert names or shown + self.tables() == expected, "other numbers in silence"
            assert same or names or not self._reads(command, path), "nothing is said"
            return
        assert names or path.parent.name in error + shown, error
        if command == "verify":
            assert code == 1
            return
        assert code == 2
        lines = [line for line in error.splitlines() if "error: " in line]
        assert len(lines) == 1
        assert not (self.place / "out").exists()

    def _is_the_same(self, file: str) -> bool:
        """Whether the file holds what it held, as a record in which a blank has become another does."""
        path, was = self.place / file, self.whole / file
        if not path.is_file():
            return False
        if path.suffix != ".json":
            return path.read_bytes() == was.read_bytes()
        with contextlib.suppress(*UNREADABLE):
            return read_json(path, "") == read_json(was, "")
        return False

    def _reads(self, command: str, path: Path) -> bool:
        own = path.parent.name == self.labels[0] and path.name in ("config.json", "checkpoint.pt")
        return own or command != "critic"


def commands_of(file: str) -> tuple[str, ...]:
    if file.startswith("hopper"):
        # no statistic asks for its weights
        return ("aggregate", "verify")
    return ("again", "join", "verify", "critic")


@pytest.fixture(scope="module")
def as_whole():
    """Command -> what it shows of what is whole."""
    return {}


@pytest.fixture
def disk(whole, as_whole, capsys, few_samples, monkeypatch):
    # what is drawn is read before; the pixels take the time
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **of: Path(path).touch())
    return Disk(whole, capsys, as_whole)


def test_the_commands_show_what_is_whole(disk):
    for command in ("again", "join", "aggregate", "critic"):
        assert len(disk.as_whole(command)) > 100
    assert "all is as recorded" in disk.as_whole("verify")


@pytest.mark.parametrize("damage", [*FIXED, *DRAWN])
def test_a_damaged_file_is_named(damage, disk):
    """One file and two commands of each damage, others for each."""
    draw = random.Random(damage)
    file = draw.choice(disk.files())
    for command in draw.sample(commands_of(file), 2):
        disk.check(file, damage, command, draw)


@pytest.mark.slow
def test_every_damage_to_every_file_by_every_command(disk):
    draw, failures, damaged = random.Random(0), [], 0
    for file in disk.files():
        for damage in [*FIXED, *(["cut", "flip", "page"] * 6)]:
            damaged += 1
            state = draw.random()
            for command in commands_of(file):
                try:
                    disk.check(file, damage, command, random.Random(state))
                except (Exception, Waits) as error:
                    failures.append(f"{file}: {damage}: {command}: {type(error).__name__}: {error}"[:600])
                    disk._capsys.readouterr()
    assert damaged >= 500
    assert not failures, "\n".join(failures)
