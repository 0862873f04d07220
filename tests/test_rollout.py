"""Evaluation in the simulator: against stepping by hand, beside others, across the end of an episode."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.options import OptionError
from core.rng import SeedRng
from tasks import make_task
from tasks.d4rl_names import normalise
from tasks.fleet import Fleet, Moment, Workers, launch
from tasks.offline import OfflineTask, Recipe
from tasks.rollout import SEEDS, rollout
from tasks.simulators import Simulation, Simulator

pytest.importorskip("gymnasium")
pytest.importorskip("mujoco")

HOPPER = Simulator("Hopper-v4", 60)
REFERENCE = (-20.272305, 3234.3)


def double(seeds) -> SeedRng:
    return SeedRng(seeds, "evaluate", dtype=torch.float64)


def noisy(obs, rng):
    """A policy that depends on observation and noise, row by row so that company cannot change its rounding."""
    noise = rng.uniform(obs.shape[1], 3) * 2 - 1
    return torch.stack([torch.tanh(row[..., :3] + noise[i]) for i, row in enumerate(obs)])


def by_hand(simulator: Simulator, seed: int, actions) -> tuple[float, int, bool]:
    """Return, length and whether it was terminal, of one environment stepped with these actions until it is over."""
    import gymnasium

    env = gymnasium.make(simulator.env_id, max_episode_steps=simulator.limit)
    env.reset(seed=seed)
    total, count = 0.0, 0
    for action in actions:
        _, reward, terminated, truncated, _ = env.step(action)
        total, count = total + float(reward), count + 1
        if terminated or truncated:
            return total, count, terminated
    raise AssertionError("the episode did not end")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_replayed_actions_give_the_return_of_stepping_by_hand():
    """Episodes of different lengths, terminal and cut off, all in one batch."""
    script = torch.rand(60, 2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    script[:, :, 2:] *= 0.05
    step = iter(range(60))
    result = rollout(Fleet(HOPPER, 8), lambda obs, rng: script[next(step)], double([3, 4]), 2, 4)
    starts = double([3, 4]).integers(SEEDS, 4).numpy()
    for seed in range(2):
        for episode in range(4):
            expected = by_hand(HOPPER, int(starts[seed, episode]), script[:, seed, episode].numpy())
            assert (result.returns[seed, episode], result.lengths[seed, episode]) == expected[:2]
            assert result.terminated[seed, episode] == expected[2]
    assert len(set(result.lengths.ravel())) > 2
    assert result.terminated.any()
    assert not result.terminated.all()


def test_a_seed_is_judged_the_same_alone_and_beside_others():
    together = rollout(Fleet(HOPPER, 9), noisy, double([0, 1, 2]), 3, 3)
    alone = rollout(Fleet(HOPPER, 3), noisy, double([1]), 1, 3)
    np.testing.assert_array_equal(together.returns[1:2], alone.returns)
    np.testing.assert_array_equal(together.lengths[1:2], alone.lengths)


def test_a_fleet_can_be_used_again():
    fleet = Fleet(HOPPER, 4)
    first, second = (rollout(fleet, noisy, double([5]), 1, 4) for _ in range(2))
    np.testing.assert_array_equal(first.returns, second.returns)


def test_worker_processes_change_nothing():
    here, there = Fleet(HOPPER, 6), Workers(HOPPER, 6, 2)
    results = [rollout(fleet, noisy, double([0, 1]), 2, 3) for fleet in (here, there)]
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    np.testing.assert_array_equal(results[0].lengths, results[1].lengths)
    there.close()
    assert not any(process.is_alive() for process in there.processes)


def test_an_error_in_a_worker_reaches_the_caller():
    workers = Workers(Simulator("NoSuchEnvironment-v0", 10), 2, 2)
    with pytest.raises(Exception, match="NoSuchEnvironment"):
        workers.reset(np.arange(2))
    workers.close()


def test_a_worker_that_was_killed_is_said():
    workers = Workers(HOPPER, 4, 2)
    workers.reset(np.arange(4))
    workers.processes[0].kill()
    workers.processes[0].join()
    with pytest.raises(OSError, match="one of their processes ended before it answered"):
        workers.reset(np.arange(4))
    workers.close()


def test_few_environments_stay_in_this_process():
    assert isinstance(launch(HOPPER, 3), Fleet)


class Counting:
    """Stands in for simulations whose episodes last as many steps as their seed says, paying 1 a step."""

    def __init__(self, limit: int):
        self.limit, self.steps, self.calls = limit, 0, 0

    def reset(self, seed: int) -> np.ndarray:
        self.length, self.steps = seed, 0
        return np.zeros(2)

    def step(self, action):
        self.steps, self.calls = self.steps + 1, self.calls + 1
        assert self.steps <= self.length, "stepped after its end"
        over = self.steps == self.length
        return np.full(2, self.steps), 1.0, over and self.length < self.limit, self.steps == self.limit, {}


def test_finished_episodes_stand_still():
    fleet = Fleet.__new__(Fleet)
    fleet.simulations = [Counting(limit=5) for _ in range(4)]
    now = fleet.reset(np.array([1, 3, 5, 2]))
    total = np.zeros(4)
    seen = []
    while not now.over.all():
        now = fleet.step(np.zeros((4, 1)))
        total += now.reward
        seen.append(now.obs[:, 0].copy())
    assert total.tolist() == [1, 3, 5, 2]
    assert now.terminated.tolist() == [True, True, False, True]
    assert now.truncated.tolist() == [False, False, True, False]
    assert np.array(seen)[-1].tolist() == [1, 3, 5, 2]


def test_a_moment_in_hand_does_not_change_when_the_fleet_moves_on():
    fleet = Fleet(HOPPER, 2)
    first = fleet.reset(np.array([1, 2]))
    kept = Moment(first.obs.copy(), *(first.reward, first.terminated, first.truncated, first.success))
    fleet.step(np.ones((2, 3)))
    np.testing.assert_array_equal(first.obs, kept.obs)


def test_actions_are_scaled_from_the_unit_box_and_clipped():
    pendulum = Simulation(Simulator("InvertedPendulum-v4", 10))
    assert pendulum.centre.tolist() == [0]
    assert pendulum.half.tolist() == [3]
    outcomes = []
    for ours, theirs in ((0.5, 1.5), (7.0, 3.0)):
        pendulum.reset(0)
        obs = pendulum.step(np.array([ours]))[0]
        pendulum.env.reset(seed=0)
        outcomes.append((obs, pendulum.env.step(np.array([theirs]))[0]))
    for ours, theirs in outcomes:
        np.testing.assert_array_equal(ours, theirs)


def test_an_action_that_is_not_a_number_is_named():
    def act(obs, rng):
        actions = torch.zeros(2, 3, 3, dtype=torch.float64)
        actions[1, 2, 0] = float("nan")
        return actions

    with pytest.raises(FloatingPointError, match=r"policy 1 .* episode 2"):
        rollout(Fleet(HOPPER, 6), act, double([0, 1]), 2, 3)


def task(**changes) -> OfflineTask:
    settings = {"simulator": HOPPER, "recorded_with": "", "episodes": 3, **changes}
    return OfflineTask(Recipe("hopper-test", 11, 3, 60, REFERENCE, lambda: None, **settings))


def test_a_package_that_is_not_there_is_one_line():
    def load():
        raise ModuleNotFoundError("No module named 'h5py'", name="h5py")

    recipe = Recipe("hopper-test", 11, 3, 60, REFERENCE, load, simulator=HOPPER, recorded_with="", episodes=3)
    with pytest.raises(OptionError, match=r"^hopper-test needs h5py; pip install -r requirements-tasks.txt$"):
        OfflineTask(recipe).prepare()


def test_a_simulation_starts_without_advice_about_newer_environments():
    code = "from tasks.simulators import Simulator; Simulator('Hopper-v4', 10).start()"
    started = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True)
    assert "out of date" not in started.stderr


@pytest.mark.parametrize("notice", [signal.SIGINT, signal.SIGTERM])
def test_workers_outlive_what_interrupts_and_an_answer_nobody_waited_for(notice):
    fleet = Workers(HOPPER, 4, 2)
    try:
        starts = np.arange(4)
        expected = fleet.reset(starts)
        for process in fleet.processes:
            os.kill(process.pid, notice)
        fleet._asked += 1
        for pipe in fleet.pipes:  # asked, and cut off before the answer was read
            pipe.send((fleet._asked, "step", np.ones((2, 3))))
        np.testing.assert_array_equal(fleet.reset(starts).obs, expected.obs)
    finally:
        fleet.close()


def test_an_evaluation_reports_normalised_scores_and_its_physics():
    judged = task()
    evaluation = judged.evaluate(noisy, double([0, 1]), 2)
    assert evaluation.metrics["score"].shape == (2,)
    assert list(evaluation.metrics) == ["score", "return", "length"]
    np.testing.assert_allclose(evaluation.metrics["score"], normalise(REFERENCE, evaluation.metrics["return"]))
    np.testing.assert_allclose(evaluation.samples["scores"].mean(1), evaluation.metrics["score"])
    assert judged.physics["environment"] == "Hopper-v4"
    assert judged.physics["mujoco"].count(".") == 2


def test_other_physics_than_the_data_s_is_warned_of_once(recwarn):
    judged = task(recorded_with="mujoco-py on MuJoCo 2")
    for _ in range(2):
        judged.evaluate(noisy, double([0]), 1)
    lines = [str(w.message) for w in recwarn if "recorded with" in str(w.message)]
    assert len(lines) == 1
    assert "mujoco-py on MuJoCo 2" in lines[0]


def test_observations_are_transformed_for_the_policy_as_for_the_data(monkeypatch):
    judged, plain = task(observation="z-score"), task()
    from tasks.transforms import Affine

    judged._affine = Affine(np.full(11, 0.3), np.full(11, 2.0))
    plain._affine = Affine(np.zeros(11), np.ones(11))

    def undoing(obs, rng):
        return noisy(obs * 2 + 0.3, rng)

    ours = judged.evaluate(undoing, double([0]), 1).metrics["length"]
    np.testing.assert_allclose(ours, plain.evaluate(noisy, double([0]), 1).metrics["length"])


def test_a_task_without_a_maintained_simulator_says_what_to_do():
    with pytest.raises(OptionError, match="install_d4rl"):
        make_task("kitchen-partial-v0").evaluate(noisy, double([0]), 1)


UNGUARDED = """
print("the script runs", flush=True)
import numpy as np
from tasks.fleet import Workers
from tasks.simulators import Simulator
workers = Workers(Simulator("Hopper-v4", 10), 2, 2)
print(workers.reset(np.arange(2)).obs.shape)
workers.close()
"""


def test_workers_do_not_run_a_script_again_that_has_no_main_guard(tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "(2, 11)"]
