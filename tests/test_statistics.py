"""Intervals over seeds, differences paired by seed, and the table that shows both."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel

from ablations.analysis import statistics
from ablations.analysis.statistics import format_interval
from ablations.report.table import table


def test_t_interval_is_the_textbooks():
    # four values, mean 5, s = 2: t(0.975, 3) = 3.182446
    interval = statistics.t_interval(np.array([3.0, 7.0, 5 - 2**0.5, 5 + 2**0.5]))
    assert interval.mean == pytest.approx(5)
    assert interval.high - interval.mean == pytest.approx(3.182446305 * 2 / 2, rel=1e-8)
    assert np.isnan(statistics.t_interval(np.array([1.0])).low)
    assert format_interval(0.5, 0.4, 2) == "0.50 ± 0.10"
    assert format_interval(0.5, np.nan, 2) == "0.50"


def final_values(runs: dict[str, dict[int, float]], metric: str = "score") -> pd.DataFrame:
    rows = [
        {"run": run, "metric": metric, "seed": seed, "value": value}
        for run, seeds in runs.items()
        for seed, value in seeds.items()
    ]
    return pd.DataFrame(rows)


def test_differences_are_paired_by_seed():
    """Held to scipy's paired t-test, over the seeds that both have."""
    a, b = {0: 1.0, 1: 9.0, 2: 4.0, 7: 99.0}, {2: 5.5, 1: 10.0, 0: 2.25, 3: -99.0}
    (row,) = statistics.paired_differences(final_values({"a": a, "b": b, "c": {0: 1.0}})).itertuples(index=False)
    assert (row.run, row.versus, row.metric, row.seeds) == ("b", "a", "score", 3)
    test = ttest_rel([b[seed] for seed in range(3)], [a[seed] for seed in range(3)])
    assert (row.low, row.high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row.low < row.mean < row.high


def test_the_table_marks_what_differs_from_the_first_run():
    """`same` is higher by 1 in every seed but for noise, `other` by as much as it spreads."""
    values = final_values({"first": {0: 1, 1: 50}, "same": {0: 2, 1: 51.01}, "other": {0: 3, 1: 40}})
    summary = statistics.summarise(values, ["run", "metric"])
    printed = table(summary, {"score": 7.0}, statistics.paired_differences(values)).splitlines()
    assert printed[-2] == "* differs significantly from first: paired t-test, 5% for all runs of a metric (Holm)"
    assert printed[-1].startswith("2 seeds: a difference below ")
    assert [cell.endswith("*") for cell in re.findall(r"± \S+(?: \*)?", printed[1])] == [False, True, False]
    alone = values[values["run"] != "same"]
    summary = statistics.summarise(alone, ["run", "metric"])
    assert "*" not in table(summary, {}, statistics.paired_differences(alone))
