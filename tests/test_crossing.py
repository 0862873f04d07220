"""Comparisons of every combination of what a command names several values of."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from records import written

from ablations.analysis import statistics
from ablations.command.cli import parse
from ablations.figures import curves, drawing, sweep
from ablations.record import results
from core.options import OptionError
from run_ablation import main

SMALL = "--network.hidden 16 --network.depth 1 --trainer.batch 10 --compile off"
#: command -> labels of its runs
CROSSED = {
    "--policy flow gaussian --improvement none q-max": ["flow-bc", "flow-q-max", "gaussian-bc", "gaussian-q-max"],
    "--policy gaussian --regularizer bc mmd": ["gaussian-q-max", "gaussian-mmd-q-max"],
    "--policy.T 5 50": ["diffusion-q-max,policy.T=5", "diffusion-q-max,policy.T=50"],
    # the option is not one of the Gaussian's
    "--policy diffusion gaussian --policy.T 5 7": [
        "diffusion-q-max,policy.T=5",
        "diffusion-q-max,policy.T=7",
        "gaussian-q-max",
    ],
    # and cloning has neither eta nor a critic
    "--policy cvae --improvement none q-max --improvement.eta 1 2.5 --critic.heads 1 2": [
        "cvae-bc",
        *(f"cvae-q-max,improvement.eta={eta},critic.heads={heads}" for eta in (1.0, 2.5) for heads in (1, 2)),
    ],
    "--task hopper-medium-v2 --policy flow --improvement none q-max --backup mean max-q": [
        "flow-bc",
        "flow-q-max,backup=mean",
        "flow-q-max,backup=max-q",
    ],
    "--policy perturbed cvae --policy.base cvae flow --policy.base.steps 5 9": [
        "perturbed-q-max,policy.base=cvae",
        "perturbed-q-max,policy.base=flow,policy.base.steps=5",
        "perturbed-q-max,policy.base=flow,policy.base.steps=9",
        "cvae-q-max",
    ],
    "--preset td3+bc diffusion-ql --critic.layer-norm no yes": [
        f"{preset},critic.layer-norm={said}" for preset in ("td3+bc", "diffusion-ql") for said in ("no", "yes")
    ],
    "--preset diffusion-ql --improvement none q-max": [
        "diffusion-ql,improvement=none",
        "diffusion-ql,improvement=q-max",
    ],
    "--policy flow diffusion --policy.target epsilon v --policy.schedule cosine vp": [
        "flow-q-max",
        *(
            f"diffusion-q-max,policy.target={target},policy.schedule={schedule}"
            for target in ("epsilon", "v")
            for schedule in ("cosine", "vp")
        ),
    ],
    # the target critic is what these look at, on one step too; a learned multiplier has a rate
    "--preset awr --trainer.tau 0.1 1": ["awr,trainer.tau=0.1", "awr,trainer.tau=1.0"],
    "--policy flow --regularizer bc mmd --regularizer.multiplier learned --trainer.critic-lr 0.1 0.2 --bc-only": [
        "flow-bc",
        "flow-mmd,trainer.critic-lr=0.1",
        "flow-mmd,trainer.critic-lr=0.2",
    ],
    "--policy perturbed --policy.base distilled cvae --policy.base.base flow --policy.base.base.steps 5 9": [
        "perturbed-q-max,policy.base=distilled,policy.base.base.steps=5",
        "perturbed-q-max,policy.base=distilled,policy.base.base.steps=9",
        "perturbed-q-max,policy.base=cvae",
    ],
    # of a study too an option is for the runs that have what it is of
    "--study learning-pointmaze --critic.heads 1 3": [
        "bc-diffusion",
        "diffusion-ql,critic.heads=1",
        "diffusion-ql,critic.heads=3",
    ],
    "--study coupling --trainer.lr 1e-3 1e-4 --only cvae": [
        f"{run},trainer.lr={lr}" for run in ("diffusion", "gaussian", "cvae") for lr in (0.001, 0.0001)
    ],
}


@pytest.mark.parametrize("command", CROSSED)
def test_every_combination_is_one_run(command):
    runs = parse(command.split()).runs
    assert [run.label for run in runs] == CROSSED[command]
    made = [{**run.record(), "label": None, "varied": None} for run in runs]
    assert len({str(record) for record in made}) == len(runs)


def test_a_run_has_the_values_its_label_says():
    runs = parse("--policy.T 5 7 --critic.heads 1 2 --critic.layer-norm yes no --regularizer bc mmd".split()).runs
    built = [
        (run.names["regularizer"], run.parts.policy.T, run.parts.critic.heads, run.parts.critic.layer_norm)
        for run in runs
    ]
    assert sorted(built) == sorted(itertools.product(("bc", "mmd"), (5, 7), (1, 2), (True, False)))
    for run, (regularizer, *options) in zip(runs, built, strict=True):
        keys = ("regularizer", "policy.T", "critic.heads", "critic.layer_norm")
        assert run.varied == dict(zip(keys, (regularizer, *options), strict=True))
        assert run.record()["varied"] == run.varied


@pytest.mark.parametrize(
    ("said", "expected"),
    [("--policy.clip", True), ("--policy.clip yes", True), ("--policy.clip no", False), ("--no-policy.clip", False)],
)
def test_yes_and_no(said, expected):
    (run,) = parse(said.split()).runs
    assert run.parts.policy.clip is expected
    assert run.varied == {}


def test_cloning_and_q_are_compared_under_the_same_way_to_act():
    cloned, with_q = parse("--task hopper-medium-v2 --improvement none q-max".split()).runs
    assert [view.label for view in cloned.views] == ["one"]
    assert [view.label for view in with_q.views] == ["one", "softmax-q"]
    (alone,) = parse("--task hopper-medium-v2".split()).runs
    assert [view.label for view in alone.views] == ["softmax-q"]


def test_only_takes_a_study_s_run_or_one_of_its_values():
    command = "--study coupling --trainer.lr 1e-3 1e-4 --only".split()
    assert parse([*command, "cvae"]).only == ("cvae,trainer.lr=0.001", "cvae,trainer.lr=0.0001")
    assert parse([*command, "cvae,trainer.lr=0.001"]).only == ("cvae,trainer.lr=0.001",)


def test_the_impossible_is_left_out_where_asked(capsys):
    command = "--policy gaussian cvae flow --regularizer bc kl --skip-impossible"
    invocation = parse(command.split())
    assert [run.label for run in invocation.runs] == [
        "gaussian-q-max",
        "gaussian-kl-q-max",
        "cvae-q-max",
        "flow-q-max",
    ]
    assert [line.partition(", which")[0] for line in invocation.left_out] == [
        "left out, 1: regularizer kl needs a policy with a density"
    ] * 2


def test_what_a_part_refuses_is_left_out_too():
    invocation = parse("--policy.T 5 50 --policy.grad-steps 10 --skip-impossible".split())
    assert [run.label for run in invocation.runs] == ["diffusion-q-max,policy.T=50"]
    assert len(invocation.left_out) == 1
    with pytest.raises(OptionError, match="grad-steps"):
        parse("--policy.T 5 --policy.grad-steps 10 --skip-impossible".split())


def test_a_critic_goes_to_the_runs_that_ask_one(tmp_path, capsys):
    critic = tmp_path / "critic"
    assert main(f"--policy gaussian {SMALL} --steps 2 --seeds 0 --out {critic}".split()) == 0
    command = f"--policy gaussian --improvement none q-max --critic-from {critic} {SMALL} --seeds 0"
    cloned, with_q = parse(command.split()).runs
    assert (cloned.critic_from, with_q.critic_from) == (None, str(critic))
    with pytest.raises(OptionError, match=r"trainer\.tau: of .* none trains a critic"):
        parse(f"{command} --trainer.tau 0.1 0.2".split())
    with pytest.raises(OptionError, match="asks no critic"):
        parse(f"--policy gaussian --bc-only --critic-from {critic} {SMALL} --seeds 0".split())


@pytest.mark.parametrize(
    ("command", "figures"),
    [
        ("--study strength --improvement.eta 1 --only gaussian", {"figure.png"}),
        ("--study strength --improvement.eta 1 --network.activation mish relu --only gaussian", {"figure.png"}),
        ("--study methods --trainer.lr 1e-3 1e-4 --only gaussian-bc", {"figure.png", "sweep.png"}),
        ("--study denoising --network.hidden 8 16 --only vp-T5-epsilon", {"figure.png", "sweep.png"}),
    ],
)
def test_a_study_taken_further_has_the_figures_it_can_have(command, figures, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*f"{command} --steps 2 --seeds 0 --compile off --out {out}".split()]) == 0
    assert {path.name for path in out.glob("*.png")} == figures


def test_the_number_of_most_values_is_the_one_swept(tmp_path):
    values = {f"{heads}-{eta}": (heads, eta) for heads in (1, 2) for eta in (0.1, 1.0, 10.0)}
    for label, (heads, eta) in values.items():
        written(tmp_path / label, [[1, 2]], [[1, 2]], varied={"critic.heads": heads, "improvement.eta": eta})
    (tmp_path / "comparison.json").write_text(json.dumps({"study": None, "runs": list(values)}))
    assert results.swept(tmp_path) == "improvement.eta"


@pytest.mark.parametrize("scores", [[[5.0]], [[5.0, 5.0]] * 2, [[1.0, 2.0], [3.0, 4.0]]])
def test_curves_are_drawn_of_whatever_there_is(scores, tmp_path):
    run = written(tmp_path / "run", scores, [[0.1] * len(scores[0])] * len(scores))
    curves.draw_curves(run, statistics.summarise(results.load_metrics(run)), tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5_000


def test_every_line_is_drawn_in_a_colour_of_its_own():
    rows = pd.DataFrame(
        {"at": [1, 2] * 14, "run": np.repeat(list("abcdefghijklmn"), 2), "mean": 1, "low": 0, "high": 2}
    )
    _, (axis,) = drawing.grid(1, height=3)
    drawing.lines(axis, rows, "at", "run")
    assert len({line.get_color() for line in axis.get_lines()}) == 14


def test_a_sweep_is_drawn_at_its_values(tmp_path, monkeypatch, capsys):
    command = f"--policy gaussian --improvement none q-max --improvement.eta 0.1 10 {SMALL} --steps 4 --seeds 0 1"
    out = tmp_path / "out"
    assert main([*command.split(), "--out", str(out)]) == 0
    assert (out / "sweep.png").stat().st_size > 10_000
    summary = pd.read_csv(out / "summary.csv")
    drawn = []
    monkeypatch.setattr(sweep, "save", lambda figure, path: drawn.append(figure))
    sweep.draw_sweep(out, summary, out / "again.png")
    (figure,) = drawn
    of_reward = figure.axes[2]
    assert (of_reward.get_title(), of_reward.get_xlabel(), of_reward.get_xscale()) == (
        "expected reward",
        "improvement.eta",
        "log",
    )
    level, line = of_reward.get_lines()
    reward = summary[summary["metric"] == "reward"].set_index("label")["mean"]
    np.testing.assert_array_equal(line.get_xdata(), [0.1, 10])
    np.testing.assert_array_equal(
        line.get_ydata(), [reward["gaussian-q-max,improvement.eta=0.1"], reward["gaussian-q-max,improvement.eta=10.0"]]
    )
    np.testing.assert_array_equal(level.get_ydata(), [reward["gaussian-bc"]] * 2)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["gaussian-bc", "gaussian-q-max"]


def test_without_a_number_there_is_no_sweep(tmp_path, capsys):
    out = tmp_path / "out"
    command = f"--policy gaussian --policy.bound none tanh --bc-only {SMALL} --steps 2 --seeds 0"
    assert main([*command.split(), "--out", str(out)]) == 0
    assert results.swept(out) is None
    assert not (out / "sweep.png").exists()


def test_options_that_vary_have_columns_of_their_own(tmp_path):
    options = "--policy gaussian cvae --improvement.eta 0.5 2 --network.hidden 8 --trainer.batch 8 --steps 4"
    assert main([*options.split(), "--compile", "off", "--seeds", "0", "--out", str(tmp_path / "out")]) == 0
    metrics = results.load_metrics(tmp_path / "out")
    assert metrics.groupby("label", sort=False)["improvement.eta"].unique().map(list).to_dict() == {
        f"{policy}-q-max,improvement.eta={eta}": [eta] for policy in ("gaussian", "cvae") for eta in (0.5, 2.0)
    }
    assert set(metrics.columns) - {"run", "improvement.eta"} == set(results.COLUMNS)
