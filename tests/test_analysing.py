"""Any table of scores is decomposed by `--analyse`, and what is none is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from run_ablation import main

PUBLISHED = Path(__file__).parent / "published" / "ogbench-16-methods.csv.gz"


def test_the_published_scores_are_analysed(tmp_path, capsys):
    """The shares are those that their README gives; with holes there are Shapley's."""
    published = pd.read_csv(PUBLISHED).melt(["method", "task"], var_name="seed", value_name="score")
    published.to_csv(tmp_path / "scores.csv", index=False)
    published[published["method"].isin(["QAM", "FQL"])].iloc[1:].to_csv(tmp_path / "holes.csv", index=False)
    out, holes = tmp_path / "out", tmp_path / "holes"
    assert main(["--analyse", str(tmp_path / "scores.csv"), "--out", str(out)]) == 0
    found = pd.read_csv(out / "shares.csv")
    np.testing.assert_allclose(found["raw"], [0.0668, 0.6338, 0.2310, 0.0683], atol=5e-5)
    assert found[["low", "high"]].notna().all(axis=None)
    assert f"{found['share'][0]:.4f}" in capsys.readouterr().out
    assert (out / "figure.png").stat().st_size > 5_000
    assert main(["--analyse", str(tmp_path / "holes.csv"), "--out", str(holes)]) == 0
    assert list(pd.read_csv(holes / "shares.csv")["term"]) == ["method", "task", "seeds"]
    assert len(pd.read_csv(holes / "effects.csv")) == 1
    printed = capsys.readouterr().out
    assert "Shapley shares" in printed
    assert "method: QAM over FQL" in printed


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read as CSV"),
        ("a,seed\n1,2\n", "no column 'score'; there are a, seed"),
        ("a,score\n1,2\n", "no column 'seed'"),
        ("a,seed,score\nx,0,1\ny,0,nan\n", "the score of line 3 is nan"),
        ("a,seed,score\nx,0,1\ny,0,high\n", "the score of line 3 is high"),
        ("seed,score\n0,1\n1,2\n", "no column has two levels or more"),
        ("a,seed,score\nx,0,1\nx,0,2\ny,0,2\n", "a=x, seed=0: more than one score"),
        ("a,seed,score\nx,0,1\ny,0,1\n", "all scores are equal"),
    ],
)
def test_what_is_no_table_of_scores_is_said(content, told, tmp_path, refused):
    file = tmp_path / "scores.csv"
    file.write_text(content)
    assert told in refused("--analyse", str(file), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
