"""Statistics over tasks: by hand, by closed forms, and from run directories to files."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from records import written
from scipy.stats import mannwhitneyu

from ablations.analysis import aggregates
from ablations.record import results
from ablations.record.integrity import write_json
from ablations.report import suite
from run_ablation import main

#: two tasks of four seeds
TASKS = [np.array([1.0, 2.0, 3.0, 8.0]), np.array([40.0, 50.0, 120.0, 60.0])]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interquartile mean", (3 + 8 + 40 + 50) / 4),
        ("mean", (3.5 + 67.5) / 2),
        ("optimality gap", 100 - (3.5 + 62.5) / 2),
    ],
)
def test_by_hand(name, value):
    found = aggregates.bootstrap(aggregates.STATISTICS[name], TASKS)
    assert found.mean == pytest.approx(value)
    assert found.low < value < found.high


def test_the_median_is_over_tasks():
    assert aggregates.median(np.array([1.0, 3.0]), np.array([5.0, 5.0]), np.array([90.0, 100.0])) == 5


def test_an_interval_of_the_mean_is_the_normal_one_for_many_seeds():
    """The mean of task means has variance sum(s^2 / n) / tasks^2."""
    rng = np.random.default_rng(3)
    strata = [rng.normal(20, 5, 400), rng.normal(80, 10, 300), rng.exponential(30, 500)]
    found = aggregates.bootstrap(aggregates.mean, strata)
    deviation = np.sqrt(sum(scores.var() / len(scores) for scores in strata)) / 3
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * deviation, rel=0.05)


@pytest.mark.parametrize("name", ["mean", "interquartile mean"])
@pytest.mark.parametrize(("seeds", "spreads"), [(3, (10, 10, 10)), (3, (10, 1, 1)), (5, (10, 1))], ids=str)
def test_intervals_hold_the_truth_as_often_as_they_say(seeds, spreads, name, monkeypatch):
    """Of 300 draws, for one run and for the difference of two alike; the middle half of unlike tasks errs wide."""
    monkeypatch.setattr(aggregates, "RESAMPLES", 500)
    rng, statistic = np.random.default_rng(1), aggregates.STATISTICS[name]
    held = []
    for _ in range(300):
        one, other = ([rng.normal(50, spread, seeds) for spread in spreads] for _ in range(2))
        alone, apart = aggregates.bootstrap(statistic, one), aggregates.difference(statistic, one, other)
        held.append([alone.low <= 50 <= alone.high, apart.low <= 0 <= apart.high])
    assert (np.mean(held, 0) > 0.92).all()
    assert name != "mean" or (np.mean(held, 0) < 0.995).all()


def test_tasks_are_kept_and_seeds_drawn_anew():
    """Tasks far apart with seeds alike have no spread."""
    found = aggregates.bootstrap(aggregates.mean, [np.full(5, 3.0), np.full(4, 90.0)])
    assert found == (46.5, 46.5, 46.5)


def test_one_seed_alone_has_no_interval():
    found = aggregates.bootstrap(aggregates.mean, [np.array([3.0]), np.array([5.0, 6.0])])
    assert found.mean == 4.25
    assert np.isnan([found.low, found.high]).all()


def test_a_difference_is_paired_by_seed():
    """A constant gap has no spread, whatever the seeds' own."""
    found = aggregates.difference(aggregates.interquartile_mean, [x + 3 for x in TASKS], TASKS)
    assert found == pytest.approx((3, 3, 3))
    apart = aggregates.difference(aggregates.mean, [TASKS[0][::-1] + 3, TASKS[1]], TASKS)
    assert apart.low < apart.mean == 1.5 < apart.high


def test_probability_of_improvement_is_mann_whitneys():
    rng = np.random.default_rng(0)
    one, other = [rng.integers(0, 9, (2, 6)).astype(float) for _ in range(2)]
    expected = np.mean([mannwhitneyu(x, y).statistic / 36 for x, y in zip(one, other, strict=True)])
    assert aggregates.probability_of_improvement(list(one), list(other)).mean == pytest.approx(expected)
    always = aggregates.probability_of_improvement([TASKS[0] + 9, TASKS[1] + 99], TASKS)
    assert always.mean == 1
    # every draw says 1, and that is no certainty
    assert np.isnan([always.low, always.high]).all()
    assert aggregates.probability_of_improvement(TASKS, TASKS).mean == 0.5


def test_a_profile_is_the_share_above():
    share, low, high = aggregates.performance_profile(np.array([2.5, 59.9, -1]), TASKS)
    np.testing.assert_array_equal(share, [0.75, 0.25, 1])
    assert np.isnan([low[2], high[2]]).all()
    assert 0 <= low[0] < share[0] < high[0] <= 1


def comparison(directory, task, runs, **written_with):
    """A comparison: label -> last scores of its seeds; the evaluation before was 10 lower."""
    for label, last in runs.items():
        before = [score - 10 for score in last]
        written(directory / label, [before, last], [[0.1] * len(last)] * 2, task, **written_with)
    (directory / "comparison.json").write_text(json.dumps({"study": None, "runs": list(runs)}))
    return directory


@pytest.fixture
def two_tasks(tmp_path):
    directories = [
        comparison(tmp_path / "a", "hopper-medium-v2", {"bc": [10, 20, 30], "q": [20, 31, 40], "more": [1, 1, 1]}),
        comparison(tmp_path / "b", "walker2d-medium-v2", {"bc": [50, 60, 70], "q": [62, 71, 80]}),
    ]
    for directory, T in zip(directories, (5, 50), strict=True):
        config = results.read_config(directory / "bc")
        write_json(directory / "bc" / "config.json", {**config, "options": {"policy": {"T": T}}})
    return directories


def test_directories_are_read_together(two_tasks, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["--aggregate", *map(str, two_tasks), "--out", str(out)]) == 0
    printed, said = capsys.readouterr()
    assert said == "not of every task, left out: more one\nbc: not the same on every task in policy.T\n"
    assert "2 tasks: value (95% interval over seeds)" in printed
    aggregate = pd.read_csv(out / "aggregate.csv", keep_default_na=False)
    assert set(aggregate["run"]) == {"bc", "q"}
    assert set(aggregate["tasks"]) == {2}
    value = aggregate.set_index(["rule", "run", "versus", "statistic"])["value"]
    assert value["last", "bc", "", "mean"] == 40
    assert value["mean of last ten", "bc", "", "mean"] == 35
    assert value["last", "q", "bc", "mean"] == pytest.approx((31 / 3 + 11) / 2)
    assert value["last", "q", "", "interquartile mean"] == (31 + 40 + 62 + 71) / 4
    assert value["last", "q", "bc", "probability of improvement"] == pytest.approx((7.5 + 8) / 9 / 2)
    line = next(line for line in printed.splitlines() if line.startswith("q "))
    assert line.count("*") == 4
    profiles = pd.read_csv(out / "profiles.csv")
    assert profiles["score"].min() == 0
    assert profiles.groupby(["rule", "run"])["share"].apply(lambda share: share.is_monotonic_decreasing).all()
    assert (out / "figure.png").stat().st_size > 20_000
    again = tmp_path / "again"
    assert main(["--aggregate", *map(str, two_tasks), "--out", str(again)]) == 0
    assert (again / "aggregate.csv").read_bytes() == (out / "aggregate.csv").read_bytes()


def test_a_run_is_the_same_however_it_acts_where_it_acts_in_one_way(tmp_path):
    """On one task by one sample, on the other by softmax-Q, as its paper does; beside others a way is told by name."""
    a = comparison(tmp_path / "a", "hopper-medium-v2", {"q": [1, 2]}, acting=["one"])
    b = comparison(tmp_path / "b", "walker2d-medium-v2", {"q": [3, 4]}, acting=["softmax-q"])
    assert set(suite.read([a, b])["run"]) == {"q"}
    both = comparison(tmp_path / "c", "halfcheetah-medium-v2", {"q": [5, 6]}, acting=["one", "softmax-q"])
    scores = suite.read([a, both])
    assert set(scores["view"]) == {"one"}
    assert set(scores["run"]) == {"q"}
    other = comparison(tmp_path / "d", "antmaze-umaze-v0", {"q": [7, 8]}, acting=["softmax-q", "one"])
    assert set(suite.read([both, other])["run"]) == {"q one", "q softmax-q"}


def test_runs_of_other_seeds_pair_nothing_and_that_is_said(tmp_path, capsys):
    a = comparison(tmp_path / "a", "hopper-medium-v2", {"bc": [10, 20], "q": [20, 30]})
    b = comparison(tmp_path / "b", "walker2d-medium-v2", {"bc": [30, 40], "q": [60, 70]})
    for name in ("metrics", "training"):
        rows = pd.read_csv(b / "q" / f"{name}.csv")
        rows.assign(seed=rows["seed"] + 7).to_csv(b / "q" / f"{name}.csv", index=False)
    write_json(b / "q" / "config.json", {**results.read_config(b / "q"), "seeds": [7, 8]})
    assert main(["--aggregate", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    printed, said = capsys.readouterr()
    assert said == "walker2d-medium-v2: runs have other seeds than each other; differences are over those of both\n"
    assert "*" not in printed


def test_of_one_seed_there_is_a_value_and_no_interval(tmp_path, capsys):
    a = comparison(tmp_path / "a", "hopper-medium-v2", {"bc": [10], "q": [20]})
    b = comparison(tmp_path / "b", "walker2d-medium-v2", {"bc": [30], "q": [60]})
    assert main(["--aggregate", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("q ")]
    assert rows == [["q", *["35.0"] * 3, "65.0", "1.00"], ["q", *["40.0"] * 3, "60.0", "1.00"]]


def test_what_cannot_be_read_together_is_one_line(two_tasks, tmp_path, capsys):
    a, b = two_tasks
    bandit = comparison(tmp_path / "bandit", "bandit", {"bc": [1, 2]}, metric="reward")
    others = comparison(tmp_path / "others", "antmaze-umaze-v0", {"else": [1, 2]})
    halfway = comparison(tmp_path / "halfway", "halfcheetah-medium-v2", {"bc": [1, 2], "q": [1, 2]})
    config = results.read_config(halfway / "q")
    write_json(halfway / "q" / "config.json", {**config, "interrupted": True, "steps_done": 1})
    broken = comparison(tmp_path / "broken", "halfcheetah-medium-v2", {"bc": [1, 2]})
    (broken / "bc" / "config.json").write_text("[1]")
    (tmp_path / "empty").mkdir()
    out = ["--out", str(tmp_path / "out")]
    for directories, said in [
        ([a], "one task alone is its own table"),
        ([a, a], "hopper-medium-v2 is the task of more than one directory"),
        ([a, tmp_path / "none"], "none is not the directory of a run or comparison"),
        ([a, bandit], "has no normalised score to share"),
        ([a, others], "no run is in all of"),
        ([a, halfway], "halfway: q was interrupted; let it go on to its end"),
        ([a, broken], "broken/bc/config.json is damaged: it is no record"),
        ([a, tmp_path / "empty"], "empty is not the directory of a run or comparison"),
        ([a, b, "--out", tmp_path / "twice"], "--out: said more than once"),
        ([a, b, "--steps", "3"], "--steps: --aggregate reads what is there and takes --out alone"),
    ]:
        assert main(["--aggregate", *map(str, directories), *out]) == 2
        error = capsys.readouterr().err
        assert error.startswith("run_ablation.py: error: ")
        assert said in error
        assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
