"""The block that says what was loaded, and what it notes: sets that are allowed and seldom meant."""

from __future__ import annotations

import numpy as np
import pytest
from d4rl_builders import arrays, save

from run_ablation import main
from tasks.d4rl_reader import load
from tasks.describing import block

pytest.importorskip("h5py")


def rows(text: str) -> dict[str, str]:
    return {line[2:16].strip(): line[16:] for line in text.splitlines()[1:] if not line.startswith("  note")}


def notes(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith("  note"))


def described(tmp_path, lengths=(5, 4, 6), **changes) -> str:
    content = {**arrays(lengths, terminal=(1,)), **changes}
    return block("a", load(save(tmp_path / "a.hdf5", content), 11, 3, 1000))


def test_it_counts_what_is_there(tmp_path):
    told = rows(described(tmp_path))
    # the last step of an episode that was cut off has no next observation: 4 + 4 + 5 transitions are left
    assert told["transitions"] == "13 in 3 episodes"
    assert told["lengths"].startswith("4 / 4 / 4 / 4.5 / 5 ")
    assert told["ends"] == "terminal 7.692% of transitions, time limit or cut 15.385%"
    assert told["observations"].startswith("11 columns, from ")
    assert told["duplicates"].startswith("0.00%")


def test_returns_are_those_of_the_episodes(tmp_path):
    reward = np.arange(15, dtype=np.float32)
    told = rows(described(tmp_path, rewards=reward))
    returns = sorted([reward[:4].sum(), reward[5:9].sum(), reward[9:14].sum()])
    assert told["returns"].startswith(f"{returns[0]:.5g} / ")
    assert f" / {returns[2]:.5g} (undiscounted)" in told["returns"]


def test_actions_at_the_bounds_and_repeated_rows_are_counted(tmp_path):
    same = {"observations": np.zeros((15, 11), np.float32), "actions": np.ones((15, 3), np.float32)}
    told = rows(described(tmp_path, **same))
    assert told["actions"].endswith("100.00% at the bounds")
    assert told["duplicates"].startswith("92.31%")


ODD = {
    "all terminal": ({"terminals": np.ones(15, bool), "timeouts": np.zeros(15, bool)}, "every transition is terminal"),
    "no episode ends": ({"terminals": np.zeros(15, bool), "timeouts": np.zeros(15, bool)}, "no episode ends in it"),
    "few": ({}, "13 transitions, which a policy learns by heart"),
    "observations alike": ({"observations": np.zeros((15, 11), np.float32)}, "all observations are alike"),
    "rewards alike": ({"rewards": np.full(15, -1, np.float32)}, "all rewards are -1"),
    "action alike": ({"actions": np.zeros((15, 3), np.float32)}, "action 0, 1, 2 never changes"),
    "next contradicts": (
        {"next_observations": np.full((15, 11), 99, np.float32)},
        r"next_observations[0] is not observations[1], nor are 11 others",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_is_seldom_meant_is_noted(tmp_path, name):
    changes, said = ODD[name]
    assert said in notes(described(tmp_path, **changes))


def test_a_sound_set_has_no_notes(tmp_path):
    content = arrays((400, 300, 500), terminal=(1,))
    content["next_observations"] = np.append(content["observations"][1:], content["observations"][:1], 0)
    assert not notes(block("a", load(save(tmp_path / "a.hdf5", content), 11, 3, 1000)))


def test_describe_prints_it_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--describe"]) == 0
    out = capsys.readouterr().out
    assert rows(out)["transitions"] == "10,000 of one step"
    assert not list(tmp_path.iterdir())


def test_a_d4rl_task_is_described_without_its_simulator(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    save(tmp_path / "hopper_medium-v2.hdf5", arrays())
    monkeypatch.setattr("tasks.simulators.Simulator.start", None)
    assert main(["--describe", "--task", "hopper-medium-v2"]) == 0
    assert "13 in 3 episodes" in capsys.readouterr().out


def test_it_is_said_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = "--bc-only --policy gaussian --steps 2 --seeds 0 --network.hidden 8 --out r"
    assert main(command.split()) == 0
    said = capsys.readouterr().err
    assert "bandit: what was loaded" in said
    assert "note" not in said
