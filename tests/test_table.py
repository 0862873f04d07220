"""The printed table: the metrics that matter, arrows towards better values, and no line over 100 characters."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ablations.analysis import statistics
from ablations.analysis.aggregates import STATISTICS
from ablations.analysis.metrics import directed, headline
from ablations.report.table import WIDTH, table, table_over_tasks
from run_ablation import main
from tasks.bandits import Bandit


def summary_of(runs: list[str], metrics: list[str], scale: float = 1.0) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"run": run, "metric": metric, "seed": seed, "value": scale * rng.normal()}
        for run in runs
        for metric in metrics
        for seed in range(3)
    ]
    return statistics.summarise(pd.DataFrame(rows), ["run", "metric"])


BANDIT = list(Bandit.metrics)
#: a difference that is significant by any correction
GAP = {"seeds": 3, "mean": 1.5, "low": 1.49, "high": 1.51}


def test_the_three_metrics_that_matter_with_arrows_and_the_rest_on_demand():
    summary = summary_of(["a", "b"], BANDIT)
    lines = table(summary, {"reward": 2.5}, pd.DataFrame()).splitlines()
    assert [line.split("  ")[0] for line in lines[1:4]] == ["reward ↑", "on_mode ↑", "energy_distance ↓"]
    assert lines[1].split()[-1] == "2.5000"
    assert lines[-1] == f"{len(BANDIT) - 3} more metrics: --all-metrics, and the CSV files"
    whole = table(summary, {}, pd.DataFrame(), all_metrics=True)
    assert [line.split()[0] for line in whole.splitlines()[1:]] == BANDIT
    assert "--all-metrics" not in whole


@pytest.mark.parametrize(
    ("there", "shown"),
    [
        (["length", "return", "score"], ["score", "return"]),
        (["score", "return", "score, last", "score, best online"], ["score", "score, best online", "return"]),
        (["unknown", "other", "third", "fourth"], ["unknown", "other", "third"]),
    ],
)
def test_headline_of_what_is_there(there, shown):
    assert headline(there) == shown


def test_arrows_point_to_better_values():
    assert [directed(name) for name in ("score, last", "kl", "c2st_scaled", "length", "best_mode")] == [
        "score, last ↑",
        "kl ↓",
        "c2st_scaled ↓",
        "length",
        "best_mode",
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 21])
@pytest.mark.parametrize("every", [False, True])
def test_it_fits_whatever_the_names_and_numbers(count, every):
    long = "diffusion-q-max,improvement.eta=0.3,policy.schedule=cosine,trainer.lr=0.001"
    runs = [f"{long} softmax-q:candidates={n}" for n in range(count)]
    summary = summary_of(runs, BANDIT, scale=12345.0)
    differences = pd.DataFrame([{"run": runs[-1], "versus": runs[0], "metric": "reward", **GAP}])
    printed = table(summary, {}, differences, all_metrics=every)
    body = printed.split("\n\n* ")[0]
    assert max(map(len, body.splitlines())) <= WIDTH
    assert body.count("±") == count * (len(BANDIT) if every else 3)
    for n in range(count):
        assert f"candidates={n}" in body


def test_the_command_prints_three_metrics_or_all(tmp_path, few_samples, capsys):
    small = "--policy deterministic --bc-only --steps 1 --seeds 0 1 --network.hidden 8 --compile off --device cpu"
    for name, more, count in (("few", [], 3), ("all", ["--all-metrics"], len(BANDIT))):
        assert main([*small.split(), "--out", str(tmp_path / name), *more]) == 0
        assert capsys.readouterr().out.count("±") == count + 1  # the heading has one too


def test_marks_are_explained_only_where_they_are_seen():
    summary = summary_of(["a", "b"], BANDIT)
    of = {"run": "b", "versus": "a", **GAP}
    hidden = pd.DataFrame([{**of, "metric": "share_upper_left"}])
    assert "*" not in table(summary, {}, hidden)
    assert table(summary, {}, hidden, all_metrics=True).count("*") == 2
    assert table(summary, {}, pd.DataFrame([{**of, "metric": "reward"}])).count("*") == 2


def test_the_table_over_tasks_fits():
    runs = ["diffusion-q-max,improvement.eta=0.3,policy.schedule=cosine", "gaussian-q-max,improvement.eta=0.3"]
    rows = [
        {"rule": "last", "run": run, "versus": "", "statistic": name, "value": 55.5, "low": 44.4, "high": 66.6}
        for run in runs
        for name in STATISTICS
    ]
    rows += [
        {"rule": "last", "run": runs[1], "versus": runs[0], "statistic": name, "value": 5.5, "low": 4.4, "high": 6.6}
        for name in [*STATISTICS, "probability of improvement"]
    ]
    body = table_over_tasks(pd.DataFrame(rows), ["last"]).split("\n\n*")[0]
    assert max(map(len, body.splitlines())) <= WIDTH
    assert body.count(" *") == 4
