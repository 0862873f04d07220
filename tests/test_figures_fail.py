"""A figure is drawn as it is whatever the user's matplotlibrc says, and one that fails is a line beside the table."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from records import written

from ablations.report import showing
from run_ablation import main

RUN = "--policy gaussian --bc-only --network.hidden 8 --network.depth 1 --trainer.batch 8".split()
RUN += ["--steps", "2", "--compile", "off", "--seeds", "0"]

pytestmark = pytest.mark.usefixtures("few_samples")


def two_tasks(place):
    for name in ("hopper", "walker2d"):
        written(place / name / "bc", [[1.0, 2.0], [3.0, 5.0]], [[0.1, 0.1]] * 2, f"{name}-medium-v2", steps_done=100)
    return ["--aggregate", *(str(place / name / "bc") for name in ("hopper", "walker2d"))]


@pytest.mark.parametrize(
    "user", [{"text.usetex": True}, {"axes.prop_cycle": mpl.cycler(color=["red"]), "figure.dpi": 3.0, "font.size": 90}]
)
def test_a_users_matplotlibrc_changes_no_figure(user, tmp_path):
    assert main([*RUN, "--out", str(tmp_path / "plain")]) == 0
    with mpl.rc_context(user):
        assert main([*RUN, "--out", str(tmp_path / "styled")]) == 0
        assert main([*two_tasks(tmp_path), "--out", str(tmp_path / "both")]) == 0
        assert {key: mpl.rcParams[key] for key in user} == user
    plain, styled = ((tmp_path / name / "figure.png").read_bytes() for name in ("plain", "styled"))
    assert plain == styled
    assert (tmp_path / "both" / "figure.png").is_file()


@pytest.mark.parametrize("failure", [RuntimeError("no LaTeX\nand more"), OSError(28, "No space left"), ValueError()])
def test_a_figure_that_fails_is_a_line_beside_the_table(failure, tmp_path, monkeypatch, capsys):
    def fail(*of):
        raise failure

    monkeypatch.setitem(showing.FIGURES, "samples", fail)
    monkeypatch.setattr("ablations.report.suite.draw_profiles", fail)
    out = tmp_path / "out"
    for command in ([*RUN, "--out", str(out)], [*two_tasks(tmp_path), "--out", str(tmp_path / "both")]):
        assert main(command) == 1
        shown, said = capsys.readouterr()
        assert "interval" in shown
        errors = [line for line in said.splitlines() if "error: " in line]
        assert len(errors) == 1
        assert "figure.png: cannot be drawn (" in errors[0]
    assert (tmp_path / "both" / "scores.csv").is_file()
    monkeypatch.undo()
    assert main([*RUN, "--out", str(out)]) == 0
    assert (out / "figure.png").is_file()
