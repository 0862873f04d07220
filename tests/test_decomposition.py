"""Shares of factors: planted ones are found, published ones agree, intervals hold the truth as often as they say."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.analysis.decomposition import (
    as_array,
    corrected_shares,
    decompose,
    raw_shares,
    shapley,
    shapley_shares,
    sums_of_squares,
    swaps,
)
from core.options import OptionError

PUBLISHED = Path(__file__).parent / "published" / "ogbench-16-methods.csv.gz"


def rows(array: np.ndarray, names: str = "abc") -> pd.DataFrame:
    """`[*levels, S]` as rows."""
    keys = [*names[: array.ndim - 1]]
    index = list(itertools.product(*map(range, array.shape)))
    return pd.DataFrame(index, columns=[*keys, "seed"]).assign(value=array.ravel())


def planted(main_a: np.ndarray, main_b: np.ndarray, pair: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cell means of centred effects, and their variances: a, b, a x b."""
    a, b = main_a - main_a.mean(), main_b - main_b.mean()
    both = pair - pair.mean(0) - pair.mean(1, keepdims=True) + pair.mean()
    return a[:, None] + b + both, np.array([a.var(), b.var(), both.var()])


def test_the_published_scores_have_their_published_shares():
    wide = pd.read_csv(PUBLISHED).set_index(["method", "task"])
    scores = wide.rename_axis(columns="seed").stack().rename("value").reset_index()
    array = as_array(scores, ["method", "task"])
    assert array.shape == (16, 50, 12)
    assert np.round(raw_shares(array), 4).tolist() == [0.0668, 0.6338, 0.2310, 0.0683]
    some = scores[~scores["method"].isin(["FAWAC", "FBRAC"])]
    assert np.round(raw_shares(as_array(some, ["method", "task"])), 4).tolist() == [0.0131, 0.7286, 0.1891, 0.0691]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.integers(2, 4), st.integers(2, 5))
def test_planted_shares_are_found_without_noise(seed, levels_a, levels_b, seeds):
    draw = np.random.default_rng(seed)
    cells, variances = planted(*(draw.normal(size=size) for size in (levels_a, levels_b, (levels_a, levels_b))))
    array = np.repeat(cells[..., None], seeds, -1)
    truth = np.append(variances / variances.sum(), 0)
    assert np.allclose(raw_shares(array), truth)
    assert np.allclose(corrected_shares(array), truth)
    main_a, main_b, pair, _ = truth
    assert np.allclose(shapley_shares(rows(array), ["a", "b"]), [main_a + pair / 2, main_b + pair / 2, 0])


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(2, 3), min_size=2, max_size=4))
def test_shares_sum_to_one_with_noise_and_with_gaps(seed, shape):
    draw = np.random.default_rng(seed)
    array = draw.normal(size=(*shape, 3))
    assert np.isclose(sum(sums_of_squares(array).values()), array.var() * array.size)
    assert np.isclose(raw_shares(array).sum(), 1)
    assert np.isclose(corrected_shares(array).sum(), 1)
    gaps = rows(array, "abcd").sample(frac=0.8, random_state=seed % 1000)
    assert np.isclose(shapley_shares(gaps, list("abcd"[: len(shape)])).sum(), 1)


def test_of_an_additive_factorial_with_gaps_an_idle_factor_has_little():
    scores = rows(np.repeat(np.array([0.0, 1.0, 3.0])[:, None, None] + np.zeros((3, 2, 1)), 3, -1))
    scores = scores[~((scores["a"] == 2) & (scores["b"] == 1))]
    found = shapley(scores, ["a", "b"]).set_index("term")["share"]
    # a gap makes the factors correlate: the idle one gets a little of what both could explain
    assert np.isclose(found.sum(), 1)
    assert np.isclose(found["seeds"], 0)
    assert found["a"] > 0.8 > 0.2 > found["b"]


def test_two_seeds_have_no_interval_and_three_do():
    array = np.random.default_rng(0).normal(size=(2, 3, 3))
    assert decompose(rows(array[..., :2]), ["a", "b"])[["low", "high"]].isna().all(axis=None)
    assert decompose(rows(array), ["a", "b"])[["low", "high"]].notna().all(axis=None)


def test_swaps_are_in_the_scores_unit():
    cells = np.array([[0.0, 10.0], [3.0, 9.0]])
    noise = np.random.default_rng(0).normal(scale=0.01, size=3)
    (row,) = swaps(rows(cells[..., None] + noise), "a", ["a", "b"]).itertuples(index=False)
    assert (row.level, row.versus, row.cells) == (1, 0, 2)
    assert np.allclose([row.mean, row.low, row.high, row.worst, row.best], [1, 1, 1, -1, 3])


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (rows(np.zeros((2, 2, 2)))[1:], "7 scores of 8"),
        (pd.concat([rows(np.zeros((2, 2, 2)))] * 2), "more than one score"),
        (rows(np.full((2, 2, 2), np.nan)), "not a finite number"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(scores, said):
    with pytest.raises(OptionError, match=said):
        decompose(scores, ["a", "b"])


def hold_rates(seeds: int, repeats: int, paired: float) -> np.ndarray:
    """How often the interval of each share holds the truth; `paired`: deviation of what a seed adds to every cell."""
    draw = np.random.default_rng(seeds)
    cells, variances = planted(np.array([0.0, 1, 2]), np.array([0.0, 0.5, 1]), draw.normal(size=(3, 3)))
    noise = 0.7**2 + paired**2
    truth = np.append(variances, noise) / (variances.sum() + noise)
    held = []
    for _ in range(repeats):
        array = cells[..., None] + 0.7 * draw.normal(size=(3, 3, seeds)) + paired * draw.normal(size=seeds)
        found = decompose(rows(array), ["a", "b"])
        held.append((found["low"] <= truth) & (truth <= found["high"]))
    return np.mean(held, 0)


def test_intervals_hold_the_truth_in_a_short_simulation():
    assert (hold_rates(5, 30, 0.0) > 0.8).all()


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("paired", [0.0, 0.5])
def test_intervals_hold_the_truth_at_their_rate(seeds, paired):
    assert (hold_rates(seeds, 1000, paired) > 0.9).all()
