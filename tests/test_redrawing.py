"""Figures and tables from directories that are there: formats, names, choices, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ablations.report import export
from run_ablation import main

METRICS = {"score", "return", "length", "success"}
MAZE = Path(__file__).parent.parent / "docs" / "results" / "learning-pointmaze"


def test_figures_are_drawn_anew_as_asked(tmp_path, capsys):
    import matplotlib.image

    command = ["--figures", str(MAZE), "--out", str(tmp_path), "--format", "png", "svg", "--width", "4"]
    assert main([*command, "--runs", "bc-diffusion::cloning", "--metrics", "score"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / f"curves.{kind}") for kind in ("png", "svg")]
    assert matplotlib.image.imread(tmp_path / "curves.png").shape[1] == 4 * 150
    text = (tmp_path / "curves.svg").read_text()
    assert "cloning" in text
    assert "success" not in text


def test_tables_have_the_chosen_runs_and_metrics(tmp_path):
    command = ["--tables", str(MAZE), "--out", str(tmp_path), "--format", "csv", "md", "latex"]
    assert main([*command, "--runs", "bc-diffusion::a_b", "diffusion-ql", "--metrics", "score"]) == 0
    rows = pd.read_csv(tmp_path / "table.csv")
    assert set(rows["metric"]) == {"score"}
    assert rows["run"].tolist() == ["a_b", "diffusion-ql one", "diffusion-ql softmax-q:candidates=50"]
    assert "| a_b | -1.7 ± 6.9 |" in (tmp_path / "table.md").read_text()
    latex = (tmp_path / "table.tex").read_text()
    assert r"a\_b & $-1.7 \pm 6.9$ \\" in latex
    assert r" & score $\uparrow$ \\" in latex
    assert [word for word in (r"\toprule", r"\midrule", r"\bottomrule") if word not in latex] == []


@pytest.mark.parametrize(("apart", "best"), [(1.0, "b"), (0.0, None)])
def test_the_best_is_marked_where_its_differences_leave_out_0(apart, best):
    values = [("a", seed, 0.1 * seed) for seed in range(4)]
    values += [("b", seed, 0.1 * seed + apart + 0.01 * (-1) ** seed) for seed in range(4)]
    metrics = pd.DataFrame(values, columns=["run", "seed", "value"]).assign(metric="reward")
    rows = metrics.groupby("run", as_index=False)["value"].mean().rename(columns={"value": "mean"})
    assert export._best("reward", rows, metrics) == best


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--figures", "nowhere"], "--figures: nowhere is not the directory of a run"),
        (["--figures", str(MAZE), "--style", "wild"], "choose from paper, notebook, talk, poster"),
        (["--figures", str(MAZE), "--width", "0"], "'0' is not a width in inches"),
        (["--tables", str(MAZE), "--format", "doc"], "choose from csv, md, latex"),
        (["--tables", str(MAZE), "--runs", "bc-difusion"], "did you mean bc-diffusion?"),
        (["--tables", str(MAZE), "--metrics", "scor"], "did you mean score?"),
        (["--tables", str(MAZE), "--steps", "5"], "--steps: --tables takes"),
        (["--tables", str(MAZE), str(MAZE)], "name each directory once"),
    ],
)
def test_what_cannot_be_drawn_or_tabulated(words, said, tmp_path, capsys):
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("more", "count"), [([], 3), (["--all-metrics"], 4), (["--metrics", "length"], 1)])
def test_a_table_to_be_read_has_the_most_telling_metrics(more, count, tmp_path):
    out = ["--out", str(tmp_path), "--format", "md", "csv"]
    assert main(["--tables", str(MAZE), *out, *more]) == 0
    head = (tmp_path / "table.md").read_text().splitlines()[0]
    assert len(head.strip("|").split("|")) - 1 == count
    rows = set(pd.read_csv(tmp_path / "table.csv")["metric"])
    assert rows == ({"length"} if "length" in more else METRICS)
