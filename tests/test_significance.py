"""Stars keep the error of the whole table; what is said to be detectable is detected 4 times in 5."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ablations.analysis.significance import detectable, holm, p_values, significant
from ablations.analysis.statistics import t_interval


def differences(drawn: np.ndarray) -> pd.DataFrame:
    """`[runs, S]` of one metric, against the run `first`."""
    rows = [{**t_interval(one)._asdict(), "seeds": len(one)} for one in drawn]
    return pd.DataFrame(rows).assign(run=[f"run {i}" for i in range(len(drawn))], versus="first", metric="score")


def test_holm_is_the_textbooks():
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_p_values_are_scipys():
    drawn = np.random.default_rng(0).normal(0.5, 1, (4, 5))
    assert p_values(differences(drawn)) == pytest.approx(stats.ttest_1samp(drawn, 0, axis=1).pvalue)
    assert p_values(differences(np.array([[2.0, 2.0], [0.0, 0.0]]))).tolist() == [0, 1]


def test_holm_keeps_the_family_error_where_intervals_alone_do_not():
    """Ten runs that do not differ from the first, whose seeds they all share."""
    drawn = np.random.default_rng(0).normal(size=(2000, 10, 5)) - np.random.default_rng(1).normal(size=(2000, 1, 5))
    p = stats.ttest_1samp(drawn, 0, axis=-1).pvalue
    assert np.mean([(holm(one) < 0.05).any() for one in p]) < 0.06
    assert (p < 0.05).any(-1).mean() > 0.15


def test_only_differences_from_the_first_run_are_a_family():
    table = differences(np.array([[1.0, 1.1, 0.9, 1.0], [1.0, -1.0, 0.5, -0.5]]))
    assert significant(table, "first") == {("run 0", "score")}
    assert significant(table, "other") == set()


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_a_detectable_difference_is_found_four_times_in_five(seeds):
    drawn = np.random.default_rng(seeds).normal(detectable(seeds), 1, (4000, seeds))
    assert (stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.03)
