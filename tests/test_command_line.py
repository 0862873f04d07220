"""The command line: what it understands, and that bad input ends in one clear line, exit code 2 and nothing written."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ablations.command.cli import parse
from ablations.plan.parts import CHOICES
from ablations.plan.presets import PRESETS
from ablations.plan.studies import STUDIES
from run_ablation import main
from trainers import SELECTIONS

ROOT = Path(__file__).parent.parent

#: options that change the run, each with two values
MANY = (
    "--policy.base.latent-clip 0.1 0.2 --improvement.normalizer none dataset --trainer.critic-lr 0.1 0.2 "
    "--trainer.policy-every 1 2 --trainer.bonus-start 1 2 --regularizer.coef 0.1 0.2 --critic.layer-norm yes no "
    "--network.activation mish relu"
)

BAD = {
    "--policy difusion": "unknown 'difusion', choose from diffusion, gaussian, cvae, edm,",
    "--policy diffuson": "did you mean diffusion?",
    "--policy zebra": "choose from diffusion, gaussian, cvae",
    "--policy diffusion diffusion": "--policy: diffusion named more than once",
    "--policy.T 0": "--policy.T must be at least 1, got 0",
    "--policy.T many": "--policy.T: 'many' is not a whole number",
    "--policy.time-dim 5": "--policy.time-dim must be even",
    "--policy.schedule square": "--policy.schedule must be one of vp, cosine, linear,",
    "--seeds 1 1": "--seeds: 1 named more than once",
    "--seeds -1": "'-1' is not a seed; seeds are whole numbers from 0",
    "--seeds 1.5": "'1.5' is not a seed",
    "--seeds": "--seeds: expected at least one argument",
    "--steps -5": "--steps must be at least 1, got -5",
    "--steps 0": "--steps must be at least 1",
    "--eval-every 0": "--eval-every must be at least 1",
    "--trainer.lr nan": "--trainer.lr must be a finite number, got nan",
    "--trainer.lr 0": "--trainer.lr must be greater than 0",
    "--trainer.ema-decay 1.5": "--trainer.ema-decay must be at most 1",
    "--improvement.eta -1": "--improvement.eta must be at least 0",
    "--policy diffusion --policy.latent-clip 1": "--policy.latent-clip is an option of policy cvae, not of diffusion",
    "--bc-only --improvement.eta 1": "--improvement.eta is an option of improvement q-max, one-step, weighted-one-step",
    "--bc-only --improvement q-max": "--bc-only and --improvement q-max exclude each other",
    "--policy cvae --selection mode": "selection mode needs a policy with a mode, which cvae is not",
    "--policy.schedule linear --policy.T 5": "leaves 95% of the signal",
    "--preset td3": "did you mean td3+bc?",
    "--as-released": "--as-released is of a preset",
    "--preset iql --backup mean": "needs a backup that owns one, which mean does not; use --backup expectile",
    "--policy perturbed --policy.base perturbed": "--policy.base must be a policy class that behaviour cloning trains",
    "--policy perturbed --bc-only": "trains its perturbation by Q through its samples alone",
    "--policy cvae --regularizer kl": "regularizer kl needs a policy with a density, which cvae has not",
    "--regularizer none --bc-only": "trains nothing",
    "--backup sarsa": "needs the next action of the data, which this task has not",
    "--stepz 5": "unknown option --stepz; did you mean --steps?",
    "--qqq 5": "unknown option --qqq; see --help",
    "stray": "unexpected argument 'stray'",
    "--device tpu": "--device: unknown 'tpu', choose from auto, cpu, cuda",
    "--device cuda:99": "--device cuda:99: not here",
    "--selection argmax-q:candidates=0": "--selection argmax-q:candidates=0: candidates must be at least 1, got 0",
    "--selection argmax-q:size=3": "--selection argmax-q:size=3: 'size=3' is not one of candidates=...",
    "--selection one one": "--selection: one named more than once",
    "--policy gaussian --resample steps=3": "--resample steps=3: this policy class can be sampled in one way only",
    "--resample=": "--resample '': ",
    "--selection argmax-q argmax-q:candidates=50": "--selection: argmax-q:candidates=50 is 'argmax-q' again",
    "--resample sample-steps=5,sampler=ddim sampler=ddim,sample-steps=5": "--resample: sampler=ddim,sample-steps=5 is",
    "--bc-only --resample sampler=ddpm": "--resample: sampler=ddpm is 'as trained' again",
    "--bc-only --critic.heads 7": "--critic.heads: of diffusion-bc none asks a critic; leave it out",
    "--bc-only --backup max-q": "--backup: of diffusion-bc none trains a critic that looks beyond one step, or asks V",
    "--bc-only --trainer.tau 0.5": "--trainer.tau: of diffusion-bc none trains a critic",
    "--bc-only --trainer.bonus-start 5": "--trainer.bonus-start: of diffusion-bc none maximises Q",
    "--trainer.ema-decay 0.9": "none asks a target policy",
    "--regularizer none --regularizer.coef 3": "--regularizer.coef: of diffusion-none-q-max none has a regularizer",
    "--preset awr sfbc --as-released": "--as-released: of awr, sfbc nothing is released otherwise",
    "--study coupling --policy gaussian": "--policy: the runs of study coupling set it; leave it out",
    "--study expressiveness --task hopper-medium-v2": "--task: the runs of study expressiveness set it",
    "--study expresiveness": "did you mean expressiveness?",
    "--study expressiveness --steps 0": "--steps must be at least 1",
    "--study expressiveness --only difusion": "choose from diffusion, gaussian, cvae; did you mean diffusion?",
    "--only diffusion": "--only is of a study",
    "--task maze": "unknown 'maze'; ",
    "--task hoper-medium-v2": "did you mean hopper-medium-v2",
    "--lr-decay linear": "--lr-decay must be one of none, cosine, as-released, got 'linear'",
    "--early-stop": "--early-stop compares evaluations and there is one, at the end of 1600 steps; use --eval-every",
    "--early-stop --eval-every 10 --regularizer none": "goes by a BC loss, and --regularizer none has none",
    "--policy perturbed --policy.base distilled --policy.base.base mixture": "base must be a policy class",
    "--steps 1.5": "--steps: '1.5' is not a whole number",
    "--trainer.batch 99999999999999999999": "--trainer.batch must be at most 2147483647",
    "--selection argmax-q:candidates=9999999999": "must be at most 2147483647",
    "--policy.T 5 --policy.T 7": "--policy.T: said more than once; say it once, with all its values",
    "--policy.clip yes yes": "--policy.clip: yes named more than once",
    "--selection argmax-q --selection.candidates 5 10": "'10' after --selection.candidates, which takes no more values",
    "--bc-only --trainer.critic-lr 1 2": "--trainer.critic-lr: of diffusion-bc none trains anything but a policy",
    "--backup mean max-q": "--backup: of diffusion-q-max none trains a critic that looks beyond one step",
    "--study expressiveness --critic.heads 7": "of diffusion, gaussian, cvae none asks a critic; leave it out",
    "--policy.T 5 5": "--policy.T: 5 named more than once; each may appear once",
    "--policy.T 5 0": "--policy.T must be at least 1, got 0",
    f"--policy perturbed {MANY}": "too long for a directory's name; compare fewer options at once",
    "--policy.clip maybe": "argument --policy.clip: must be yes or no, got 'maybe'",
    "--policy gaussian cvae --regularizer bc kl": "regularizer kl needs a policy with a density, which cvae has not",
    "--policy cvae --regularizer kl --skip-impossible": "regularizer kl needs a policy with a density",
    "--bc-only --improvement none q-max": "--bc-only and --improvement none q-max exclude each other",
    "--bc-only --critic.heads 1 2": "--critic.heads: of diffusion-bc none asks a critic",
    "--study coupling --trainer.lr 1 2 --only cvae,trainer.lr=3.0": "did you mean cvae,trainer.lr=2.0?",
    "--compile perhaps": "--compile: invalid choice: 'perhaps'",
}


@pytest.mark.parametrize("arguments", BAD)
def test_bad_input_is_one_line(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*arguments.split(), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("run_ablation.py: error: ")
    assert printed.err.count("\n") == 1
    assert BAD[arguments] in printed.err
    assert printed.out == ""
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path, capsys):
    full = tmp_path / "full"
    full.mkdir()
    (full / "precious").write_text("kept")
    a_file = tmp_path / "file"
    a_file.write_text("kept")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    for out, reason in [
        (full, "already exists"),
        (a_file, "already exists"),
        (a_file / "below", "not a writable"),
        (tmp_path / ("long" * 99), "File name too long"),
        (tmp_path / ("long" * 62), "File name too long"),
        (link, "is a link to nothing"),
    ]:
        assert main(["--out", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"run_ablation.py: error: --out {out}: ")
        assert reason in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "full", "link", "precious"]


def test_the_current_directory_can_take_a_run(tmp_path, monkeypatch):
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    assert main([*"--policy gaussian --bc-only --steps 3 --seeds 0 --out .".split()]) == 0
    assert (place / "config.json").exists()
    assert list(tmp_path.iterdir()) == [place]


def test_a_notebook_s_backend_that_is_not_there_is_no_matter(tmp_path):
    call = [sys.executable, str(ROOT / "run_ablation.py"), "--list"]
    done = subprocess.run(
        call, env={**os.environ, "MPLBACKEND": "nope"}, cwd=tmp_path, capture_output=True, check=False
    )
    assert done.returncode == 0


def test_as_a_program(tmp_path):
    """The exit code and the line reach the shell, with no traceback."""
    call = [sys.executable, str(ROOT / "run_ablation.py"), "--policy", "difusion"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("run_ablation.py: error: argument --policy: unknown 'difusion'")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("unheard", ["stdout", "stderr"])
def test_a_reader_who_leaves_ends_no_run(tmp_path, unheard):
    """As `| head` does: the results are there, the exit code is that of the run."""
    read, write = os.pipe()
    os.close(read)
    options = "--policy gaussian --bc-only --steps 400 --eval-every 100 --seeds 0 --network.hidden 16 --compile off"
    call = [sys.executable, str(ROOT / "run_ablation.py"), *options.split(), "--out", str(tmp_path / "out")]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, unheard: write}
    with subprocess.Popen(call, text=True, **streams) as process:
        os.close(write)
        said = process.communicate()
    assert process.returncode == 0
    assert (tmp_path / "out" / "figure.png").exists()
    assert "Traceback" not in "".join(filter(None, said))


def test_defaults_are_the_tasks():
    (run,) = parse(["--policy", "diffusion"]).runs
    assert run.seeds == (0, 1, 2, 3, 4)
    assert run.names == {
        "policy": "diffusion",
        "regularizer": "bc",
        "improvement": "q-max",
        "backup": "reward-only",
    }
    assert [view.label for view in run.views] == ["one"]
    assert (run.parts.policy.T, run.parts.network.hidden, run.trainer.batch) == (50, 128, 100)
    assert run.parts.improvement.eta == 2.5
    assert run.trainer.lr == 3e-4


def test_bc_only_takes_out_the_improvement_alone():
    (with_q,), (alone,) = parse([]).runs, parse(["--bc-only"]).runs
    assert alone.names == {**with_q.names, "improvement": "none"}
    assert alone.trainer == with_q.trainer
    assert dataclasses.replace(alone.parts, improvement=with_q.parts.improvement) == with_q.parts


def test_the_command_line_overrides_the_task():
    arguments = (
        "--policy diffusion --policy.T 7 --trainer.grad-norm 5 --network.hidden 32 --improvement.eta 0.5 --steps 9"
    )
    (run,) = parse(arguments.split()).runs
    assert (run.parts.policy.T, run.trainer.grad_norm, run.parts.network.hidden) == (7, 5.0, 32)
    assert (run.parts.improvement.eta, run.budget.steps) == (0.5, 9)


def test_several_policies_differ_in_nothing_else():
    runs = parse(["--policy", "diffusion", "gaussian", "cvae", "--policy.T", "7", "--policy.latent-clip", "1"]).runs
    assert [run.names["policy"] for run in runs] == ["diffusion", "gaussian", "cvae"]
    assert runs[0].parts.policy.T == 7
    assert runs[2].parts.policy.latent_clip == 1
    for run in runs[1:]:
        assert dataclasses.replace(run.parts, policy=runs[0].parts.policy) == runs[0].parts
        assert (run.trainer, run.views, run.budget.steps) == (
            runs[0].trainer,
            runs[0].views,
            runs[0].budget.steps,
        )


def test_one_training_is_judged_under_several_selections():
    (run,) = parse("--selection one argmax-q:candidates=5 argmax-q softmax-q:temperature=0.1".split()).runs
    assert [view.label for view in run.views] == [
        "one",
        "argmax-q:candidates=5",
        "argmax-q",
        "softmax-q:temperature=0.1",
    ]
    assert run.views[1].selection.candidates == 5
    assert run.views[3].selection.temperature == 0.1
    (shared,) = parse("--selection argmax-q softmax-q:candidates=3 --selection.candidates 7".split()).runs
    assert [view.selection.candidates for view in shared.views] == [7, 3]


def test_presets_are_rows_that_the_command_line_overrides():
    (run,) = parse("--preset bcq --policy.phi 0.2".split()).runs
    assert (run.label, run.names["policy"], run.names["policy.base"]) == ("bcq", "perturbed", "cvae")
    assert (run.parts.policy.phi, run.parts.improvement.normalizer) == (0.2, "none")
    assert run.views[0].selection.candidates == 100
    # a one-step task needs no backup, and brings its own sizes
    assert (run.names["backup"], run.parts.network.hidden) == ("reward-only", 128)
    (iql,) = parse("--preset iql".split()).runs
    assert iql.names["backup"] == "expectile"
    plain, released = (parse(f"--preset diffusion-ql {flag}".split()).runs[0] for flag in ("", "--as-released"))
    assert (plain.views[0].label, released.views[0].label) == ("one", "softmax-q")
    assert released.record()["preset"] == "diffusion-ql as released"


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_can_be_run(name, released):
    if released and not PRESETS[name].as_released:
        pytest.skip("its release is as its paper")
    (run,) = parse(f"--preset {name} {'--as-released' if released else ''} --seeds 0".split()).runs
    assert run.label == name


def test_a_comparison_has_one_budget():
    cloned, with_q = parse("--preset bc-diffusion diffusion-ql".split()).runs
    assert cloned.budget == with_q.budget
    of_row, like_it = parse("--preset diffusion-ql cvae-ql --task antmaze-medium-play-v0".split()).runs
    assert of_row.trainer == like_it.trainer
    assert of_row.names["backup"] == like_it.names["backup"] == "max-q"
    assert of_row.parts.improvement.eta == like_it.parts.improvement.eta == 2.0


def test_a_preset_given_another_class_keeps_no_options_of_its_own():
    flow, alone = (
        parse(f"{options} --seeds 0".split()).runs[0] for options in ("--preset edp --policy edm", "--policy edm")
    )
    assert flow.parts.policy == alone.parts.policy


@pytest.mark.parametrize("preset", ["awr", "crr-diffusion"])
def test_an_improvement_in_place_of_a_preset_s_takes_none_of_its_options(preset):
    """`samples` of a weighted improvement are its baseline's, and of q-max what Q is averaged over."""
    (run,) = parse(["--preset", preset, "--improvement", "q-max"]).runs
    assert run.parts.improvement.samples == 1
    assert parse(["--preset", preset]).runs[0].parts.improvement.samples > 1


@pytest.mark.parametrize("preset", ["idql", "sfbc", "diffusion-ql"])
def test_cloning_alone_asks_no_critic_under_any_preset(preset):
    (run,) = parse(["--preset", preset, "--bc-only"]).runs
    assert not run.needs_critic
    (run,) = parse(["--preset", preset, "--bc-only", "--selection", "softmax-q"]).runs
    assert run.needs_critic


def test_presets_without_a_critic_of_their_own_ask_none_when_cloning():
    (run,) = parse("--preset diffusion-ql --as-released --bc-only".split()).runs
    assert not run.needs_critic


def test_help_shows_what_a_preset_sets(capsys):
    with pytest.raises(SystemExit):
        parse("--preset edp --help".split())
    text = " ".join(capsys.readouterr().out.split())
    assert "default: dpm-3s" in text
    assert "default: 1000" in text


def test_diffusion_ql_takes_its_papers_row_of_the_task():
    (run,) = parse("--preset diffusion-ql --task walker2d-medium-expert-v2".split()).runs
    assert (run.parts.improvement.eta, run.trainer.grad_norm, run.trainer.lr) == (1.0, 5.0, 3e-4)
    assert (run.budget.steps, run.budget.eval_every, run.names["backup"]) == (2_000_000, 50_000, "clipped-double-q")
    (maze,) = parse("--preset diffusion-ql --task antmaze-medium-play-v0 --improvement.eta 7 --steps 9".split()).runs
    assert (maze.parts.improvement.eta, maze.trainer.lr, maze.names["backup"]) == (7.0, 1e-3, "max-q")
    assert maze.budget.steps == 9


def test_a_policy_inside_another_has_options_and_takes_the_tasks():
    (run,) = parse("--policy perturbed --policy.base diffusion --policy.base.schedule cosine".split()).runs
    assert (run.parts.policy.base.schedule, run.parts.policy.base.T) == ("cosine", 50)
    (kl,) = parse("--policy gaussian --regularizer kl --regularizer.behaviour mixture".split()).runs
    assert type(kl.parts.regularizer.behaviour).__name__ == "MixtureConfig"
    assert kl.names["regularizer.behaviour"] == "mixture"


def test_sarsa_learns_where_the_data_say_what_came_next():
    (run,) = parse("--task hopper-medium-v2 --backup sarsa --improvement weighted".split()).runs
    assert run.names["backup"] == "sarsa"


def test_cloning_alone_asks_no_critic_on_any_task():
    with_q, without, asked, idql = (
        parse(f"--task hopper-medium-v2 {options}".split()).runs[0]
        for options in ("", "--bc-only", "--bc-only --selection argmax-q", "--preset idql")
    )
    assert (with_q.views[0].label, with_q.needs_critic) == ("softmax-q", True)
    assert (without.views[0].label, without.needs_critic) == ("one", False)
    assert (asked.views[0].label, asked.needs_critic) == ("argmax-q", True)
    assert idql.needs_critic


def test_the_listing_names_every_part_and_every_reason_once(capsys):
    assert main(["--list"]) == 0
    text = capsys.readouterr().out
    for registry in (*CHOICES.values(), SELECTIONS, PRESETS, STUDIES):
        assert all(name in text for name in registry)
    numbers = [line.split()[0] for line in text[text.index("Why not") :].splitlines()[1:]]
    assert numbers == [str(number + 1) for number in range(len(numbers))]


def test_a_study_is_its_commands_with_what_the_user_adds():
    command = parse("--study expressiveness --steps 7 --seeds 3".split())
    assert command.study == "expressiveness"
    assert [run.label for run in command.runs] == list(STUDIES["expressiveness"].arms)
    for run in command.runs:
        assert (run.budget.steps, run.seeds, run.names["improvement"]) == (7, (3,), "none")


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_can_be_run(name):
    runs = parse(["--study", name]).runs
    assert len({run.label for run in runs}) == len(runs)


def test_help_shows_the_chosen_parts(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--policy", "cvae", "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert "--policy.latent-clip" in text
    assert "--policy.schedule" not in text
    # every option says what it starts from, but for the switches and what has no default
    described = text[text.index("the run:") :].split("\n  --")[1:]
    without = {option.split()[0] for option in described if "default:" not in option}
    assert without <= {"critic-from", "dry-run", "quiet"}
