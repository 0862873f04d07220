"""The published protocol: rows against a copy typed from the table, selection rules on hand-made histories."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.analysis.protocols import SELECTION_PROTOCOLS, History, early_stop
from tasks import make_task
from tasks.d4rl_names import D4RL
from tasks.protocol import DIFFUSION_QL
from tasks.transforms import REWARDS

#: typed from the published table: eta, max-Q backup, gn, top_k, lr, epochs, reward, episodes
TABLE = {
    "walker2d-medium-expert-v2": (1.0, False, 5.0, 1, 3e-4, 2000, "raw", 10),
    "hopper-medium-v2": (1.0, False, 9.0, 2, 3e-4, 2000, "raw", 10),
    "halfcheetah-medium-replay-v2": (1.0, False, 2.0, 0, 3e-4, 2000, "raw", 10),
    "antmaze-medium-play-v0": (2.0, True, 2.0, 1, 1e-3, 1000, "antmaze", 100),
    "antmaze-large-play-v0": (4.5, True, 10.0, 2, 3e-4, 1000, "antmaze", 100),
    "antmaze-umaze-v0": (0.5, False, 2.0, 2, 3e-4, 1000, "antmaze", 100),
    "pen-cloned-v1": (0.1, False, 8.0, 2, 3e-5, 1000, "standardise", 100),
    "kitchen-complete-v0": (0.005, False, 9.0, 2, 3e-4, 250, "raw", 100),
    "kitchen-mixed-v0": (0.005, False, 10.0, 0, 3e-4, 1000, "raw", 100),
}


@pytest.mark.parametrize("name", TABLE)
def test_a_row_is_the_published_one(name):
    row = DIFFUSION_QL[name]
    got = (
        row.eta,
        row.max_q_backup,
        row.grad_norm,
        row.top_k,
        row.lr,
        row.epochs,
        row.reward,
        row.episodes,
    )
    assert got == TABLE[name]
    assert row.eval_every == 50_000
    assert row.steps == 1000 * row.epochs


def test_all_twenty_tasks_are_there_and_known():
    assert len(DIFFUSION_QL) == 20
    assert set(DIFFUSION_QL) <= set(D4RL)
    assert {row.reward for row in DIFFUSION_QL.values()} <= set(REWARDS)
    of_tasks = {name: make_task(name).recipe for name in DIFFUSION_QL}
    published = {name: (row.reward, row.episodes) for name, row in DIFFUSION_QL.items()}
    assert {name: (recipe.reward, recipe.episodes) for name, recipe in of_tasks.items()} == published


def history(losses, scores=None) -> History:
    losses = np.array(losses, float)[:, None]
    return History(np.arange(len(losses))[:, None] * 10.0 if scores is None else np.array(scores)[:, None], losses)


def score(rule: str, evaluations: History, top_k: int = 0) -> float:
    return float(SELECTION_PROTOCOLS[rule](evaluations, top_k)[0])


def test_last_mean_and_best():
    scores = [5.0, 90.0, *range(10, 20), 3.0]
    made = history(np.zeros(13), scores)
    assert score("last", made) == 3.0
    assert score("mean of last ten", made) == np.mean([*range(11, 20), 3.0])
    assert score("best online", made) == 90.0
    assert score("mean of last ten", history([1, 1], [2.0, 4.0])) == 3.0


def test_the_offline_rule_as_released_looks_up_the_inverse_permutation():
    """Losses whose order is a 3-cycle: evaluation 2 has the lowest, 0 the second, 1 the highest."""
    made = history([0.5, 0.9, 0.1])
    assert [score("offline, corrected", made, k) for k in range(3)] == [20, 0, 10]
    assert [score("offline, as released", made, k) for k in range(3)] == [10, 20, 0]


def test_where_the_order_is_its_own_inverse_both_rules_agree():
    made = history([0.3, 0.2, 0.1])
    for k in range(3):
        assert score("offline, corrected", made, k) == score("offline, as released", made, k)


@given(st.permutations(range(7)), st.integers(0, 9))
def test_as_released_returns_the_evaluation_numbered_by_the_rank_of_k(losses, top_k):
    k = min(top_k, 6)
    made = history(losses)
    assert score("offline, as released", made, top_k) == 10 * losses[k]
    assert score("offline, corrected", made, top_k) == 10 * losses.index(k)


def test_seeds_are_selected_each_for_itself():
    made = History(np.array([[1.0, 10.0], [2.0, 20.0]]), np.array([[0.1, 0.9], [0.2, 0.3]]))
    assert SELECTION_PROTOCOLS["offline, corrected"](made, 0).tolist() == [1.0, 20.0]
    assert SELECTION_PROTOCOLS["best online"](made, 0).tolist() == [2.0, 20.0]


def test_scores_and_losses_must_match():
    with pytest.raises(ValueError, match="as many"):
        History(np.zeros((3, 1)), np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("losses", "evaluations"), [([3, 2, 1], 3), ([3, 2, 2.5, 1], 3), ([1, 2], 2), ([1, 1, 1], 3), ([1], 1)]
)
def test_early_stop_halts_at_the_first_rise(losses, evaluations):
    assert early_stop(np.array(losses, float)) == evaluations
