"""--task.reward and --task.observation: what learning is shown, and what scores never are."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from d4rl_builders import arrays, save

from ablations.command.cli import parse
from core.options import OptionError
from core.rng import SeedRng
from run_ablation import main
from tasks import make_task
from tasks.d4rl_reader import QLearning
from tasks.transforms import REWARDS, TransformConfig, transformed

pytest.importorskip("gymnasium")
pytest.importorskip("h5py")
TINY = (
    "--bc-only --policy gaussian --network.hidden 8 --network.depth 1 --trainer.batch 4 --steps 2 --seeds 0 1".split()
)


@pytest.fixture
def hopper(tmp_path, monkeypatch):
    """A small file under the name of D4RL's, whose observations are far from mean 0 and deviation 1."""
    monkeypatch.setenv("D4RL_DATASET_DIR", str(tmp_path))
    content = arrays((40, 30, 50))
    content["observations"] = 5 + 3 * content["observations"]
    save(tmp_path / "hopper_medium-v2.hdf5", content)
    return make_task("hopper-medium-v2")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_learning_sees_them_and_scores_do_not(hopper):
    asked = hopper.under(TransformConfig(reward="iql-locomotion", observation="z-score"))
    plain, changed = hopper.dataset(), asked.dataset()
    np.testing.assert_allclose(changed.reward, REWARDS["iql-locomotion"](hopper.data()), rtol=1e-6)
    torch.testing.assert_close(changed.obs.mean(0), torch.zeros(11), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed.obs.std(0, correction=0), torch.ones(11), atol=1e-3, rtol=0)
    torch.testing.assert_close(plain.obs, torch.from_numpy(hopper.data().observations))
    seen = []

    def act(obs, rng):
        seen.append(obs)
        return torch.zeros(*obs.shape[:-1], 3)

    scores = [task.evaluate(act, SeedRng([0], "evaluate"), 1).metrics for task in (hopper, asked)]
    np.testing.assert_array_equal(scores[0]["score"], scores[1]["score"])
    # a hopper at rest, seen from data around 5
    assert seen[0].abs().max() < 2 < -seen[-1].min()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_command_line_sets_them_and_the_record_has_them(hopper, tmp_path):
    command = [*TINY, "--task", "hopper-medium-v2", "--task.observation", "z-score", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    record = json.loads((tmp_path / "out" / "config.json").read_text())
    assert record["options"]["task"] == {"reward": None, "observation": "z-score", "discount": 0.99}


def test_the_release_of_a_method_has_its_own():
    task = ["--task", "hopper-medium-v2"]
    runs = parse(["--preset", "td3+bc", "iql", "--as-released", *task]).runs
    assert [run.transforms for run in runs] == [
        TransformConfig(observation="z-score", discount=0.99),
        TransformConfig(reward="iql-locomotion", discount=0.99),
    ]
    (maze,) = parse(["--preset", "iql", "--as-released", "--task", "antmaze-umaze-v0"]).runs
    (pen,) = parse(["--preset", "iql", "--as-released", "--task", "pen-human-v1"]).runs
    assert [maze.transforms.reward, pen.transforms.reward] == ["iql-antmaze", None]
    (overridden,) = parse(["--preset", "iql", "--as-released", "--task.reward", "raw", *task]).runs
    assert overridden.transforms.reward == "raw"
    (plain,) = parse(["--preset", "iql", *task]).runs
    assert plain.transforms == TransformConfig(discount=0.99)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--task hopper-medium-v2 --task.reward iql", "--task.reward must be one of raw, antmaze, iql-antmaze"),
        ("--task bandit --task.reward raw", "bandit is learned from as it is; leave them out"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, why, refused):
    assert why in refused(*TINY, *options.split())


@pytest.mark.parametrize(("transform", "what"), [("standardise", "rewards"), ("iql-locomotion", "returns of episodes")])
@pytest.mark.parametrize("reward", [0.0, -1.0, 0.1])
def test_a_transform_that_divides_by_a_spread_says_that_there_is_none(transform, what, reward):
    """Fetch pays -1 always, a maze that is never solved 0: no advice about learning rates."""
    rows = np.arange(40.0)[:, None]
    ends = np.arange(40) % 10 == 9
    data = QLearning(rows, rows / 40, np.full(40, reward, np.float32), rows + 1, ends)
    with pytest.raises(OptionError, match=f"--task.reward {transform} divides by the spread of the {what}"):
        transformed(transform, data)


def test_a_transform_that_leaves_float32_names_the_reward():
    rows = np.arange(40.0)[:, None]
    rewards = np.where(np.arange(40) == 7, 3e38, 1).astype(np.float32)
    with pytest.raises(OptionError, match="makes of reward 7, 3e"):
        transformed("antmaze", QLearning(rows, rows / 40, rewards, rows + 1, np.zeros(40, bool)))
