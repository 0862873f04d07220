"""--task.discount and --eval-episodes: what they change, what they do not, where they mean nothing, and the record."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from d4rl_builders import arrays, save

from ablations.command.cli import parse
from core.rng import SeedRng
from run_ablation import main
from tasks import make_task
from tasks.transforms import TransformConfig

pytest.importorskip("gymnasium")
pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
TASK = "--task hopper-medium-v2"
TINY = f"{TASK} --policy gaussian --network.hidden 8 --network.depth 1 --trainer.batch 4 --steps 2 --seeds 0".split()


@pytest.fixture
def hopper(tmp_path, monkeypatch):
    """A small file under the name of D4RL's."""
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    save(tmp_path / "hopper_medium-v2.hdf5", arrays((40, 30, 50)))
    return make_task("hopper-medium-v2")


def test_the_discount_is_of_every_transition_that_does_not_end(hopper):
    asked = hopper.under(TransformConfig(discount=0.5))
    plain, other = hopper.dataset(), asked.dataset()
    ends = plain.discount == 0
    assert 0 < ends.sum() < len(ends)
    torch.testing.assert_close(plain.discount[~ends], torch.full_like(plain.discount[~ends], 0.99))
    torch.testing.assert_close(other.discount, torch.where(ends, 0.0, 0.5))
    torch.testing.assert_close(other.reward, plain.reward)


def still(obs, rng):
    return torch.zeros(*obs.shape[:-1], 3)


def test_an_evaluation_has_the_episodes_asked_for_and_the_first_are_the_same(hopper):
    few, more = (hopper.under(TransformConfig(), episodes) for episodes in (2, 3))
    scores = [task.evaluate(still, SeedRng([0], "evaluate"), 1).samples["scores"] for task in (few, more)]
    assert [array.shape for array in scores] == [(1, 2), (1, 3)]
    np.testing.assert_array_equal(scores[0], scores[1][:, :2])


def test_what_is_as_the_task_has_it_is_the_task(hopper):
    assert hopper.under(TransformConfig(discount=0.99), 10) is hopper


def test_the_record_has_both_also_where_nobody_asked(hopper, tmp_path):
    def recorded(*more):
        out = tmp_path / f"out{len(more)}"
        assert main([*TINY, *more, "--out", str(out)]) == 0
        record = json.loads((out / "config.json").read_text())
        with np.load(out / "samples.npz") as samples:
            shape = samples["scores_0"].shape
        return record["options"]["task"]["discount"], record["eval_episodes"], shape

    assert recorded() == (0.99, 10, (1, 10))
    assert recorded("--task.discount", "0.9", "--eval-episodes", "1") == (0.9, 1, (1, 1))


def test_runs_of_other_discounts_or_episodes_are_not_joined(hopper, tmp_path, capsys):
    def made(name, seed, *more):
        out = str(tmp_path / name)
        assert main([*TINY[:-1], str(seed), "--eval-episodes", "1", *more, "--out", out]) == 0
        return out

    first, other = made("a", 0), made("b", 1, "--task.discount", "0.9")
    assert main(["--join", first, other, "--out", str(tmp_path / "both")]) == 2
    assert "task.discount (0.9, not 0.99)" in capsys.readouterr().err


def test_several_discounts_are_compared():
    runs = parse(f"{TASK} --policy gaussian --task.discount 0.9 1 --seeds 0".split()).runs
    assert [(run.label, run.transforms.discount) for run in runs] == [
        ("gaussian-q-max,task.discount=0.9", 0.9),
        ("gaussian-q-max,task.discount=1.0", 1.0),
    ]


@pytest.mark.parametrize(
    ("task", "episodes"),
    [
        ("bandit", None),
        ("hopper-medium-v2", 10),
        ("antmaze-umaze-v0", 100),
        ("ogbench:cube-single-play-singletask-v0", 50),
        ("minari:mujoco/hopper/medium-v0", 10),
        ("local:pointmaze-umaze", 10),
    ],
)
def test_the_default_is_the_task_s_own_protocol(task, episodes):
    (run,) = parse(f"--task {task} --policy gaussian --seeds 0".split()).runs
    assert run.budget.eval_episodes == episodes
    assert run.transforms.discount == (None if task == "bandit" else 0.99)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (f"{TASK} --task.discount 0", "--task.discount must be greater than 0"),
        (f"{TASK} --task.discount 1.01", "--task.discount must be at most 1"),
        (f"{TASK} --task.discount nan", "--task.discount must be a finite number"),
        ("--task.discount 0.9", "an episode of bandit is one step, there is nothing to discount"),
        (f"{TASK} --bc-only --task.discount 0.9", "none asks a critic that looks beyond one step"),
        (f"{TASK} --backup reward-only --task.discount 0.9", "none asks a critic that looks beyond one step"),
        (f"{TASK} --eval-episodes 0", "--eval-episodes must be at least 1"),
        ("--eval-episodes 5", "--eval-episodes: bandit has no episodes"),
    ],
)
def test_what_means_nothing_is_refused_in_one_line(options, why, refused):
    assert why in refused("--policy", "gaussian", *options.split())
