"""`local:fork`: its returns against simulation, its dynamics, its data, and runs on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.rng import SeedRng
from run_ablation import main
from tasks import make_task
from tasks.fork.task import ForkTask, Points
from tasks.fork.values import Values
from tasks.fork.world import ForkConfig, World

CONFIGS = [ForkConfig(), ForkConfig(gaps=8, near=0.1, moves=1), ForkConfig(gaps=3, walls=2, moves=4, effort=1.0)]
KNOWN = [Values(config) for config in CONFIGS]
NAMES = [f"{config.gaps} gaps, {config.moves} moves" for config in CONFIGS]
EPISODES = 20_000


def returns_of(world: World, act, episodes: int = EPISODES) -> np.ndarray:
    """Of a policy: observations `[m, 3]` -> actions `[m, 2]`."""
    points = Points(world)
    now, total = points.reset(np.arange(episodes)), np.zeros(episodes)
    while not now.over.all():
        now = points.step(act(now.obs))
        total += now.reward
    return total


@pytest.mark.parametrize("known", KNOWN, ids=NAMES)
class TestReturns:
    def test_of_the_demonstrators(self, known):
        data = known.world.demonstrated(EPISODES, 3)
        returns = np.add.reduceat(data.rewards.astype(np.float64), data.begins)
        assert len(returns) == EPISODES
        assert abs(returns.mean() - known.behaviour) < 4 * returns.std() / EPISODES**0.5 + 0.005 * known.best

    def test_of_random_actions(self, known):
        rng = np.random.default_rng(0)
        returns = returns_of(known.world, lambda obs: rng.uniform(-1, 1, (len(obs), 2)))
        assert abs(returns.mean() - known.random) < 4 * returns.std() / EPISODES**0.5 + 0.005 * known.best

    def test_the_best_is_what_acting_by_its_q_earns(self, known):
        """And nobody earns more: the demonstrators with less noise, who always take the nearest hole, do not."""
        returns = returns_of(known.world, lambda obs: greedy(known, obs), 1000)
        assert abs(returns.mean() - known.best) < 4 * returns.std() / 1000**0.5 + 0.01 * known.best
        config = known.world.config
        for near in (0.0, 0.5, 1.0):
            assert Values(ForkConfig(**{**vars(config), "near": near, "noise": 0.0})).behaviour < known.best + 1e-3


def greedy(known: Values, obs: np.ndarray) -> np.ndarray:
    """Actions that maximise Q, by search around the best of many."""
    seen = torch.as_tensor(obs)
    lines = torch.linspace(-1, 1, 41, dtype=torch.float64)
    act = torch.cartesian_prod(lines, lines)[:, None].expand(-1, len(seen), -1)
    for size in (0.05, 0.01, 0.002):
        q = known.q(seen.repeat(len(act), 1), act.flatten(0, 1)).view(len(act), -1)
        best = act[q.argmax(0), torch.arange(len(seen))]
        near = size * torch.cartesian_prod(*[torch.linspace(-1, 1, 5, dtype=torch.float64)] * 2)
        act = best + near[:, None]
    return best.clamp(-1, 1).numpy()


@pytest.mark.parametrize("known", KNOWN, ids=NAMES)
def test_q_is_differentiable_and_what_a_move_and_the_best_after_it_earn(known):
    world = known.world
    rng = np.random.default_rng(1)
    count, move = 200, world.horizon - 1
    position = rng.uniform(-0.8, 0.8, (count, 2))
    act = rng.uniform(-1, 1, (count, 2))
    # the last move leads nowhere: Q is the chance of passing less the effort
    to = np.repeat(position, 2000, 0)
    arrived = world.moved(to, np.repeat(act, 2000, 0), rng.standard_normal(to.shape))
    earned, over = world.outcome(move, arrived)
    assert over.all()
    expected = earned.reshape(count, -1).mean(1) - world.effort(act)
    seen, chosen = torch.as_tensor(world.observed(move, position)), torch.as_tensor(act).requires_grad_()
    found = known.q(seen, chosen)
    assert np.abs(found.detach().numpy() - expected).max() < 0.06
    (gradient,) = torch.autograd.grad(found.sum(), chosen)
    step = 1e-4
    for dim in range(2):
        moved = torch.zeros(2, dtype=torch.float64)
        moved[dim] = step
        slope = (known.q(seen, chosen.detach() + moved) - known.q(seen, chosen.detach() - moved)) / (2 * step)
        # the few whose cell of the grid ends within the step have a kink
        assert (slope - gradient[:, dim]).abs().median() < 1e-6


def test_demonstrators_go_both_ways_from_the_same_place_and_their_mean_hits_the_wall():
    data = World(ForkConfig(moves=1)).demonstrated(4000, 0)
    first = data.actions[data.begins]
    shares = [(first[:, 0] > 0).mean(), (first[:, 0] < 0).mean()]
    np.testing.assert_allclose(shares, [0.3, 0.7], atol=0.03)
    world = World(ForkConfig(moves=1))
    to = world.moved(world.begin(np.zeros((1, 2))), first.mean(0)[None], np.zeros((1, 2)))
    assert world.hole(0, to) == -1


@given(gaps=st.integers(1, 8), walls=st.integers(1, 4), moves=st.integers(1, 4), near=st.floats(0, 1))
def test_data_are_whole_episodes(gaps, walls, moves, near):
    config = ForkConfig(gaps=gaps, walls=walls, moves=moves, near=near, size=50)
    world = World(config)
    np.testing.assert_allclose(world.choice(walls - 1, np.random.default_rng(0).uniform(-1, 1, (9, 2))).sum(-1), 1)
    data = world.demonstrated(50, 0)
    assert len(data.begins) == 50
    ends = np.append(data.begins[1:], len(data.rewards)) - 1
    assert data.terminals[ends].all()
    assert data.terminals.sum() == 50
    within = np.setdiff1d(np.arange(len(data.rewards)), ends)
    np.testing.assert_array_equal(data.observations[within + 1], data.next_observations[within])
    np.testing.assert_array_equal(data.actions[within + 1], data.next_actions[within])
    assert np.abs(data.actions).max() <= 1
    assert set(np.diff(np.append(data.begins, len(data.rewards))) % moves) == {0}


def test_a_seed_s_episodes_do_not_depend_on_its_companions():
    task = ForkTask(evaluated=20)

    def act(obs, rng):
        return 0.3 * rng.normal(*obs.shape[1:-1], 2)

    together = task.evaluate(act, SeedRng((0, 1), "evaluate"), 2)
    alone = task.evaluate(act, SeedRng((1,), "evaluate"), 1)
    for name, values in together.metrics.items():
        assert values[1] == alone.metrics[name][0]


def test_the_demonstrators_score_between_random_and_best():
    task = make_task("local:fork")
    scores = {name: values[0] for name, values in task.reference().metrics.items()}
    assert 80 < scores["score"] < 90
    assert scores["route_error"] < 0.02
    assert scores["near_gap"] == pytest.approx(0.3, abs=0.02)
    assert "best 3.967" in task.described()


SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 20 --compile off --seeds 0 1".split()


@pytest.mark.parametrize("critic", ["learned", "exact"])
def test_a_run_has_its_figure_and_its_options(critic, tmp_path, capsys):
    out = ["--eval-episodes", "5", "--out", str(tmp_path / "out")]
    dials = ["--task.gaps", "3", "--task.size", "50", "--critic", critic]
    assert main(["--task", "local:fork", "--policy", "gaussian", *dials, *SMALL, *out]) == 0
    printed = capsys.readouterr()
    assert "--task.gaps 3" in printed.err
    assert "fresh data" in printed.out
    assert (tmp_path / "out" / "crossings.png").stat().st_size > 10_000


def test_a_dial_out_of_its_range_is_refused(refused):
    assert "gaps must be at most 8, got 9" in refused(
        "--task", "local:fork", "--task.gaps", "9", "--policy", "gaussian"
    )
