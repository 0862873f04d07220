"""What everybody tries first: --version, --help, ranges of seeds, 1e5 steps, --dry-run, --quiet."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.command import brief
from ablations.command.arguments import names_parser
from ablations.command.cli import parse
from ablations.experiment import rehearsal
from run_ablation import main
from tasks import make_task

ROOT = Path(__file__).parent.parent
#: what --figures and --tables take, --part.option, and what is answered at once
OF_READERS = ("--part", "--version", "--format", "--style", "--width", "--runs", "--metrics")
TINY = "--steps 4 --seeds 0 --network.hidden 8 --compile off"


@pytest.mark.parametrize("call", [["run_ablation.py"], ["-m", "policy_ablation"]])
def test_the_version_is_answered_without_torch(call):
    """By what is imported, as times depend on what else a machine does."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *call, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"policy-ablation {brief.version()}\n"
    assert not re.search(r"\| +(torch|pandas|numpy|matplotlib)$", done.stderr, re.MULTILINE)


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_the_first_help_fits_on_a_page(word, capsys):
    assert main([word]) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) < 60
    assert max(map(len, text.splitlines())) <= 120


def test_the_first_help_names_no_flag_that_is_not_there(capsys):
    with pytest.raises(SystemExit):
        main(["--help-all"])
    everything = capsys.readouterr().out
    flags = {flag for flag in re.findall(r"--[a-z-]+", brief.HELP) if flag not in OF_READERS}
    assert len(flags) > 20
    assert all(re.search(rf"{flag}\b", everything) for flag in flags)
    chosen = {flag for action in names_parser()._actions for flag in action.option_strings}
    assert chosen - flags == {"--resample", "--backend", "--skip-impossible", "--only"}


def test_the_first_help_says_the_bandits_steps():
    task = make_task("bandit")
    for improvement, words in (("q-max", "1600 with Q"), ("none", "20000\n *for cloning alone")):
        assert str(task.default_budget({"improvement": improvement})["steps"]) in words
        assert re.search(words, brief.HELP)


def test_seeds_are_ranges_and_steps_powers():
    (run,) = parse("--seeds 0-2 7 --steps 1e5 --eval-every 2.5e4".split()).runs
    assert (run.seeds, run.budget.steps, run.budget.eval_every) == ((0, 1, 2, 7), 100_000, 25_000)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seeds 4-0", "'4-0': a range goes up"),
        ("--seeds 0-1000000", "by less than 1000"),
        ("--seeds 1-x", "'1-x' is not a seed"),
        ("--seeds 0-2 1", "--seeds: 1 named more than once"),
        ("--steps 1e-2", "'1e-2' is not a whole number"),
        ("--steps inf", "'inf' is not a whole number"),
    ],
)
def test_ranges_and_powers_that_are_none(words, said, capsys):
    assert main(words.split()) == 2
    assert said in capsys.readouterr().err


def test_steps_that_one_run_makes_another_take_are_said():
    longer = parse("--policy gaussian --improvement none q-max".split()).longer
    assert longer == (
        "all runs take 20,000 steps, the default of gaussian-bc; alone they would take: gaussian-q-max 1,600; "
        "--steps sets it",
    )
    assert parse("--improvement none q-max --steps 9".split()).longer == ()


def test_help_says_the_steps_that_would_be_taken(capsys):
    with pytest.raises(SystemExit):
        parse("--policy gaussian --improvement q-max none --help".split())
    assert "training steps; default: 20000" in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_says_what_a_run_would_be_and_leaves_nothing(tmp_path, capsys):
    out = tmp_path / "out"
    command = f"--policy gaussian deterministic --bc-only {TINY} --dry-run --out {out}"
    assert main(command.split()) == 0
    text = capsys.readouterr().out
    assert "2 runs on bandit, each of seeds 0" in text
    assert re.search(r"they differ in\n.*\npolicy +gaussian +deterministic", text)
    assert "trainer.batch 100" in text.partition("they share")[2]
    assert "all training: about under 1 s on cpu" in text or re.search(r"all training: about \d+ s", text)
    assert str(out) in text
    assert list(tmp_path.iterdir()) == []


def test_what_runs_share_and_differ_in():
    shared, differ, alone = rehearsal.compared(
        {"a": {"x": "1", "y": "2", "z": "3"}, "b": {"x": "1", "y": "4"}, "c": {"x": "1", "y": "2", "z": "3"}}
    )
    assert shared == {"x": "1"}
    assert differ.to_dict("index") == {"y": {"a": "2", "b": "4", "c": "2"}}
    assert alone == {("a", "c"): {"z": "3"}}


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "under 1 s"), (89, "89 s"), (90, "1.5 min"), (7200, "2.0 hours"), (2e5, "2.3 days")]
)
def test_a_time_has_the_unit_that_suits_it(seconds, words):
    assert rehearsal.duration(seconds) == words


def test_quiet_says_the_table_alone(tmp_path, capsys):
    command = f"--policy gaussian --bc-only {TINY} --quiet --out {tmp_path / 'out'}"
    assert main(command.split()) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "energy_distance" in printed.out


def test_quiet_still_says_errors(tmp_path, capsys):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "precious").write_text("kept")
    assert main([*f"--bc-only {TINY} --quiet --out".split(), str(taken)]) == 2
    assert capsys.readouterr().err.startswith(f"run_ablation.py: error: --out {taken}: already exists")
