"""`bandit:NAME` tasks: data, options, evaluations, and actions of one's own."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from ablations.command.cli import parse
from ablations.figures import samples
from core.rng import SeedRng
from run_ablation import main
from tasks import ground, known, make_task
from tasks.behaviours import BEHAVIOURS
from tasks.known import known_names

QUICK = ("--policy", "gaussian", "--network.hidden", "8", "--steps", "4", "--eval-every", "2", "--device", "cpu")


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    """Judged by 200 draws, or 2 contexts of 150."""
    for name, value in {"SAMPLES": 200, "CONTEXTS": 2, "PER_CONTEXT": 150}.items():
        monkeypatch.setattr(ground, name, value)


@pytest.fixture
def last_line(capsys):
    """The error that ends a command whose task's data cannot be used, given its arguments."""

    def line(*arguments: str) -> str:
        assert main(arguments) == 2
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("results go to")]
        assert len(said) == 1
        return said[0]

    return line


def asked(name, **options):
    task = make_task(name)
    return task.under(task.options(**options))


@pytest.mark.parametrize("name", known_names())
def test_data_are_draws_with_rewards_of_the_known_q(name):
    task = asked(name, size=2000, reward_noise=0.3)
    data = task.dataset()
    assert data.act.dtype == data.reward.dtype == torch.float32
    assert data.obs.shape == (2000, task.spec.obs_dim)
    assert data.act.shape == (2000, task.spec.act_dim)
    assert (data.discount == 0).all()
    assert data.act.abs().max() <= 1
    noise = data.reward - task.true_q(data.obs.double(), data.act.double())
    assert float(noise.mean()) == pytest.approx(0, abs=0.04)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.1)
    again = asked(name, size=2000, reward_noise=0.3).dataset()
    assert torch.equal(again.act, data.act)


@pytest.mark.parametrize("name", ["bandit:ring", "bandit:conditional", "bandit:parity"])
def test_the_behaviour_itself_scores_as_fresh_data_do(name):
    task = make_task(name)
    draws = torch.Generator().manual_seed(5)

    def act(obs, rng):
        return torch.stack([task.behaviour.sample(rows.double(), draws) for rows in obs])

    ours = task.conclude(act, SeedRng((0, 1), "evaluate", torch.device("cpu")), 2).metrics
    fresh = task.reference().metrics
    assert ours.keys() == fresh.keys()
    assert ours.keys() <= task.metrics.keys()
    assert ours["off_support"].tolist() == [0, 0]
    assert ours["c2st"] == pytest.approx([0.5, 0.5], abs=0.07)
    assert ours["optimum_strength"].tolist() == [0, 0]
    cheap = task.evaluate(act, SeedRng((0,), "evaluate", torch.device("cpu")), 1).metrics
    assert "energy_distance" in cheap
    assert "c2st" not in cheap


def test_contexts_of_the_evaluation_are_in_no_data():
    task = make_task("bandit:conditional")
    held_out = task.ground.obs[:, 0].float()
    assert torch.cdist(held_out, task.dataset().obs).min() > 0


def test_options_reach_the_task_and_its_record(tmp_path, capsys):
    options = ("--task.modes", "3", "--task.reward", "needle", "--task.size", "500")
    assert main(["--task", "bandit:ring", *options, *QUICK, "--seeds", "0", "--out", str(tmp_path / "out")]) == 0
    assert "transitions   500 of one step" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "config.json").read_text())["options"]["task"]
    assert (record["modes"], record["reward"], record["size"]) == (3, "needle", 500)
    table = pd.read_csv(tmp_path / "out" / "metrics.csv")
    assert "c2st" in set(table[table["step"] == 4]["metric"])
    assert "c2st" not in set(table[table["step"] == 2]["metric"])


def test_options_of_one_behaviour_are_not_of_another(refused):
    assert "--task.dims" in refused("--task", "bandit:ring", "--task.dims", "3", *QUICK)
    assert "--task.discount" in refused("--task", "bandit:ring", "--task.discount", "0.9", *QUICK)
    assert "--task.modes" in refused("--task", "bandit", "--task.modes", "3", *QUICK)
    assert "modes must be" in refused("--task", "bandit:ring", "--task.modes", "0", *QUICK)
    assert "did you mean bandit:ring" in refused("--task", "bandit:rin", *QUICK)


def test_values_of_an_option_are_compared():
    runs = parse(["--task", "bandit:ring", "--task.modes", "2", "8", "--policy", "gaussian", "--bc-only"]).runs
    assert [run.transforms.modes for run in runs] == [2, 8]


def test_every_behaviour_is_listed(capsys):
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^  bandit:{name} +\w", shown, re.M) for name in BEHAVIOURS)


def rows(count=200, dims=2):
    return np.random.default_rng(0).uniform(-1, 1, (count, dims))


def with_nan():
    found = rows()
    found[3, 1] = np.nan
    return found


GOOD = rows()
BAD = {
    "nan": ({"actions": with_nan()}, "actions.*finite"),
    "outside": ({"actions": 1.5 * GOOD}, "between -1 and 1"),
    "one-point": ({"actions": np.zeros((200, 2))}, "one point"),
    "one-row": ({"actions": rows(1)}, "1 row; expected 100 or more"),
    "no-rows": ({"actions": rows(0)}, "0 rows; expected 100 or more"),
    "flat": ({"actions": GOOD[:, 0]}, "two axes"),
    "three-axes": ({"actions": GOOD[None]}, "two axes"),
    "no-columns": ({"actions": GOOD[:, :0]}, "two axes"),
    "no-actions": ({"action": GOOD}, "has no actions"),
    "text": ({"actions": GOOD.astype(str)}, "actions"),
    "complex": ({"actions": GOOD.astype(complex)}, "actions"),
    "contexts-fewer": ({"actions": GOOD, "contexts": rows(150)}, "contexts has 150 rows and actions 200"),
    "contexts-nan": ({"actions": GOOD, "contexts": with_nan()}, "contexts.*finite"),
    "contexts-flat": ({"actions": GOOD, "contexts": GOOD[:, 0]}, "contexts has shape"),
    "contexts-huge": ({"actions": GOOD, "contexts": 1e9 * GOOD}, "contexts.*1e6"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_actions_of_ones_own_are_refused_in_one_line(name, tmp_path, last_line):
    arrays, says = BAD[name]
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    line = last_line("--task", f"bandit:file:{path}", *QUICK, "--out", str(tmp_path / "out"))
    assert str(path) in line
    assert re.search(says, line)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_what_is_no_npz_is_refused_in_one_line(content, tmp_path, last_line, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").write_bytes(content)
    assert "mine.npz" in last_line("--task", f"bandit:file:{tmp_path / 'mine.npz'}", *QUICK)
    assert "none.npz" in last_line("--task", f"bandit:file:{tmp_path / 'none.npz'}", *QUICK)
    assert str(tmp_path) in last_line("--task", f"bandit:file:{tmp_path}", *QUICK)


@pytest.mark.parametrize("contexts", [None, rows(200, 3)])
def test_actions_of_ones_own_are_learned_from_and_judged_by_rows_kept_apart(contexts, tmp_path):
    arrays = {"actions": rows(200, 3)} | ({} if contexts is None else {"contexts": contexts})
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    task = make_task(f"bandit:file:{path}")
    data = task.dataset()
    assert len(data) == 160
    judged = task.ground.fresh[0].float()
    assert torch.cdist(judged, data.act).min() > 0
    assert task.spec.obs_dim == (2 if contexts is None else 3)
    assert main(["--task", task.name, *QUICK, "--out", str(tmp_path / "out")]) == 0
    scores = task.reference().metrics
    assert "energy_distance" in scores
    assert "off_support" not in scores


def test_a_files_name_without_a_file_is_no_task(refused):
    assert "--task" in refused("--task", known.FILE, *QUICK)


@pytest.mark.parametrize("dims", [1, 3])
def test_samples_of_any_dimension_are_drawn(dims, tmp_path):
    np.savez(tmp_path / "mine.npz", actions=rows(200, dims))
    assert main(["--task", f"bandit:file:{tmp_path / 'mine.npz'}", *QUICK, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "figure.png").stat().st_size > 5000


def test_runs_that_differ_in_the_behaviour_are_drawn_over_their_own_data(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        samples, "_scatter", lambda axis, points, *rest: drawn.append(len(np.unique(points.round(1), axis=0)))
    )
    modes = ["--task", "bandit:ring", "--task.separation", "24", "--task.modes", "1", "12"]
    assert main([*modes, *QUICK, "--seeds", "0", "--out", str(tmp_path / "out")]) == 0
    _, one, _, twelve, _ = drawn
    assert one < twelve
