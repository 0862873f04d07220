"""A path of the command line is read in one way by all that open it: what the shell left of `~` too."""

from __future__ import annotations

import pytest

from run_ablation import main

RUN = (
    "--policy gaussian --bc-only --network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 2 --compile off".split()
)

pytestmark = pytest.mark.usefixtures("few_samples")


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "home"


def test_results_below_home_are_there_and_found_again(home, capsys):
    for seed in "01":
        assert main([*RUN, "--seeds", seed, f"--out=~/runs/{seed}"]) == 0
        assert (home / "runs" / seed / "figure.png").is_file()
    assert main(["--join", "~/runs/0", "~/runs/1", "--out=~/runs/both"]) == 0
    assert main(["--verify", "~/runs/both", "~/runs/0"]) == 0
    assert sorted(path.name for path in home.iterdir()) == ["runs"]
    assert not any((home.parent / "work").iterdir())


def test_a_directory_may_be_called_as_home_is_written(home):
    assert main([*RUN, "--seeds", "0", "--out", "./~/x"]) == 0
    assert (home.parent / "work" / "~" / "x" / "figure.png").is_file()
    assert not any(home.iterdir())


def test_a_critic_below_home_is_found(home):
    small = [word for word in RUN if word != "--bc-only"]
    assert main([*small, "--seeds", "0", "--out=~/q"]) == 0
    assert main([*small, "--seeds", "0", "--critic-from=~/q", "--out=~/second"]) == 0


@pytest.mark.parametrize("flag", ["--out", "--join", "--verify", "--critic-from"])
def test_the_home_of_nobody_is_a_line(flag, home, refused):
    train = RUN if flag in ("--out", "--critic-from") else []
    assert "no such user" in refused(*train, f"{flag}=~nobody-of-this-name/x")
    assert not any((home.parent / "work").iterdir())
