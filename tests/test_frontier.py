"""The figure of reward against divergence."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.figures import frontier
from ablations.plan.studies import STUDIES
from run_ablation import main
from tasks import ground

QUICK = "--network.hidden 8 --steps 2 --seeds 0 --trainer.batch 8 --device cpu".split()


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(ground, "SAMPLES", 200)


def axes_of(directory, monkeypatch):
    drawn = []
    monkeypatch.setattr(frontier, "save", lambda figure, path: drawn.append(figure))
    frontier.draw_frontier(directory, pd.read_csv(directory / "summary.csv"), directory / "again.png")
    return [axis for axis in drawn[0].axes if axis.get_visible()]


def test_each_source_of_q_and_each_reward_has_a_panel_with_its_bound(tmp_path, monkeypatch):
    out = tmp_path / "out"
    method = "--policy gaussian --improvement weighted --improvement.beta 1 0.1".split()
    varied = "--critic learned exact --task.reward linear trap".split()
    assert main(["--task", "bandit:ring", *method, *varied, *QUICK, "--out", str(out)]) == 0
    assert (out / "frontier.png").stat().st_size > 10_000
    axes = axes_of(out, monkeypatch)
    assert {axis.get_title() for axis in axes} == {
        f"reward {reward}, critic {critic}" for reward in ("linear", "trap") for critic in ("learned", "exact")
    }
    summary = pd.read_csv(out / "summary.csv").pivot_table(index="run", columns="metric", values="mean")
    for axis in axes:
        lines = {line.get_label(): line.get_xydata() for line in axis.lines}
        assert {"bound: pi*", "gaussian-weighted"} <= lines.keys()
        bound = lines["bound: pi*"]
        assert (np.diff(bound, axis=0) > -1e-9).all()
        # from the smaller value swept to the larger
        runs = sorted(filter(lambda run: _of(axis, run), summary.index), key=lambda run: "beta=1.0" in run)
        np.testing.assert_allclose(lines["gaussian-weighted"], summary.loc[runs, ["kl", "reward"]])


def _of(axis, run):
    """Whether a run is in a panel."""
    _, reward, _, critic = axis.get_title().replace(",", "").split()
    return f"task.reward={reward}" in run and f"critic.source={critic}" in run


def test_without_a_divergence_there_is_no_frontier(tmp_path):
    common = ["--policy", "gaussian", "--improvement", "weighted", "--improvement.beta", "1", "2", *QUICK]
    assert main(["--task", "bandit:product", *common, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "sweep.png").exists()
    assert not (tmp_path / "out" / "frontier.png").exists()


def test_the_study_draws_it_first():
    assert STUDIES["frontier"].figures[0] == "frontier"
