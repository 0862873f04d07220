"""`--config`, `--save-config`, `--reproduce` and completion: plans in files, and runs made again."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plans import plans, records

from ablations.command.cli import parse
from ablations.plan.making import make
from ablations.plan.plan import Plan
from ablations.plan.studies import STUDIES
from ablations.record import plan_files
from core.options import OptionError
from policies import POLICIES
from run_ablation import main

RESULTS = Path(__file__).parent.parent / "docs" / "results"
FORMATS = (".toml", ".yaml", ".json")
SMALL = "--network.hidden 8 --network.depth 1 --trainer.batch 8 --steps 6 --eval-every 3 --compile off --seeds 0 1"


@pytest.mark.parametrize("ending", FORMATS)
@settings(max_examples=15, deadline=None)
@given(plan=plans)
def test_a_plan_outlives_its_file(plan, ending, tmp_path_factory):
    path = tmp_path_factory.mktemp("plan") / f"plan{ending}"
    plan_files.write(plan, path)
    assert plan_files.read(path) == plan


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("name", STUDIES)
def test_a_study_outlives_its_file(name, ending, tmp_path):
    plan_files.write(STUDIES[name], tmp_path / f"study{ending}")
    assert records(plan_files.read(tmp_path / f"study{ending}")) == records(STUDIES[name])


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        (".toml", 'policy = "diffusion"\nsteps = 70\n[options]\npolicy.T = [3, 9]\ntrainer.lr = 1e-3\n'),
        (".yaml", "policy: diffusion\nsteps: 70\noptions:\n  policy: {T: [3, 9]}\n  trainer.lr: 1e-3\n"),
        (".json", '{"policy": "diffusion", "steps": 70, "options": {"policy.T": [3, 9], "trainer": {"lr": 1e-3}}}'),
    ],
)
def test_a_plan_by_hand_is_the_command(ending, text, tmp_path):
    (tmp_path / f"plan{ending}").write_text(text)
    by_file = parse(["--config", str(tmp_path / f"plan{ending}")])
    command = "--policy diffusion --steps 70 --policy.T 3 9 --trainer.lr 1e-3".split()
    assert [run.record() for run in by_file.runs] == [run.record() for run in parse(command).runs]


@pytest.mark.parametrize("command", ["--policy flow cvae --improvement.eta 1 3", "--study strength --seeds 3-4"])
def test_what_is_saved_is_what_the_command_means(command, tmp_path, capsys):
    file = tmp_path / "plan.toml"
    assert main([*command.split(), "--save-config", str(file)]) == 0
    assert capsys.readouterr().out == f"plan: {file}\n"
    assert list(tmp_path.iterdir()) == [file]
    meant, again = parse(command.split()), parse(["--config", str(file)])
    assert [run.record() for run in again.runs] == [run.record() for run in meant.runs]
    assert again.study == meant.study


def test_nothing_is_overwritten_and_no_other_format_guessed(tmp_path, refused):
    (tmp_path / "plan.toml").write_text("mine")
    said = refused("--policy", "flow", "--save-config", str(tmp_path / "plan.toml"))
    assert "already exists" in said
    assert (tmp_path / "plan.toml").read_text() == "mine"
    assert "must end in .toml, .yaml, .yml, .json" in refused("--save-config", str(tmp_path / "plan.txt"))
    none = ["--policy", "diffusion", "--policy.sample-steps", "4", "--config", str(tmp_path / "none.json")]
    (tmp_path / "none.json").write_text('{"options": {"trainer.grad_norm": [null, 5]}}')
    assert "TOML has no word for none" in refused(*none, "--save-config", str(tmp_path / "new.toml"))
    assert main([*none, "--save-config", str(tmp_path / "new.yaml")]) == 0


@pytest.mark.parametrize("name", ["config.json", "", "../comparison.json"])
def test_what_a_run_left_is_a_recipe_and_what_is_said_beside_it_wins(name):
    run = RESULTS / "learning-hopper" / "diffusion-ql"
    record = json.loads((run / "config.json").read_text())
    made = {one.label: one for one in parse(["--config", str(run / name)]).runs}["diffusion-ql"].record()
    assert made["options"] == record["options"]
    assert (made["seeds"], made["steps"]) == (record["seeds"], record["steps"])
    beside = ["--seeds", "7", "--steps", "40", "--trainer.lr", "0.001", "--eval-every", "40"]
    other = {one.label: one for one in parse(["--config", str(run / name), *beside]).runs}["diffusion-ql"].record()
    assert (other["seeds"], other["steps"], other["options"]["trainer"]["lr"]) == ([7], 40, 0.001)
    assert other["options"]["policy"] == record["options"]["policy"]


def test_another_part_takes_the_place_of_the_recipe_s_with_its_options():
    config = ["--config", str(RESULTS / "learning-hopper" / "diffusion-ql"), "--task", "bandit"]
    (run,) = parse([*config, "--policy", "gaussian"]).runs
    assert run.record()["names"]["policy"] == "gaussian"
    assert run.record()["names"]["improvement"] == "q-max"
    assert run.budget.steps == 100_000
    runs = parse([*config, "--policy", "gaussian", "--trainer.lr", "1e-3", "1e-4"]).runs
    assert [one.record()["options"]["trainer"]["lr"] for one in runs] == [1e-3, 1e-4]
    (cloned,) = parse([*config, "--bc-only"]).runs
    assert cloned.record()["names"]["improvement"] == "none"


def test_a_part_in_which_the_runs_of_a_file_differ_is_not_one_for_all(refused):
    said = refused("--config", str(RESULTS / "learning-hopper"), "--improvement", "weighted")
    assert "--improvement: the runs of the file differ in it (none, q-max); leave it out" in said
    assert "--config and --study" in refused("--config", str(RESULTS / "learning-hopper"), "--study", "methods")


BAD = {
    "empty.json": ("", "is not JSON"),
    "cut.json": ('{"policy": "flo', "is not JSON"),
    "cut.toml": ("policy = ", "is not TOML"),
    "list.yaml": ("- policy", "is no plan"),
    "number.json": ("3", "is no plan"),
    "deep.json": ("[" * 100_000, "is not JSON"),
    "deep.yaml": ("[" * 5_000, "is not YAML"),
    "bomb.yaml": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", "references (*name) are not read"),
    "code.yaml": ("policy: !!python/object/apply:os.system ['touch marker']", "is not YAML"),
    "digits.json": ('{"steps": ' + "9" * 5000 + "}", "is not JSON"),
    "bytes.toml": (b"\xff\xfe\x00", "is not TOML"),
    "key.toml": ("polcy = 'flow'", "did you mean policy?"),
    "steps.yaml": ("steps: soon", "steps must be a whole number"),
    "date.yaml": ("steps: 2020-01-01", "steps must be a whole number"),
    "nan.yaml": ("options: {trainer.lr: .nan}", "--trainer.lr must be a finite number"),
    "bool.json": ('{"bc_only": "yes"}', "bc_only must be true or false"),
    "precision.json": ('{"precision": "float8"}', "unknown"),
    "out.json": ('{"arms": {"../../x": {"policy": "flow"}}}', "cannot name a directory"),
    "name.json": ('{"name": "../x"}', "cannot name a directory"),
    "figures.json": ('{"figures": 3}', "figures must be names"),
    "options.json": ('{"options": [1]}', "options must be a table"),
    "arm.json": ('{"arms": {"a": {"options": 3}}}', "options must be a table"),
    "record.json": ('{"names": 1, "views": 2, "label": 3}', "is not the record of a run"),
    "module.json": ('{"policy": "os:system"}', "unknown 'os:system'"),
    "seeds.json": ('{"seeds": [0.5]}', "seeds must be whole numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_no_plan_is_refused_in_a_line(name, tmp_path, monkeypatch, refused):
    monkeypatch.chdir(tmp_path)
    text, told = BAD[name]
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refused("--config", name)
    assert told in said
    assert len(said) < 600
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_no_file_is_refused(tmp_path, refused):
    assert "cannot be read" in refused("--config", str(tmp_path / "not.toml"))
    assert "is not the directory of a run or comparison" in refused("--config", str(tmp_path))


#: what fields may hold by mistake, among values that are right
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["flow", "q-max"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from([*Plan.__dataclass_fields__, "polcy", ""])
OPTIONS = st.sampled_from(["policy.T", "trainer.lr", "policy", "T", "improvement.eta", "policy.base", ""])


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(FIELDS, junk | st.dictionaries(OPTIONS, junk, max_size=2), max_size=4))
def test_whatever_a_plan_says_it_is_made_or_refused_in_a_line(said):
    try:
        what = f"{len(make(Plan.from_dict(said)).runs)} runs"
    except OptionError as error:
        what = str(error)
    assert what not in ("", "0 runs")
    assert "\n" not in what


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two small runs beside each other."""
    out = tmp_path_factory.mktemp("pair") / "out"
    assert main(["--policy", "gaussian", "cvae", "--bc-only", *SMALL.split(), "--out", str(out)]) == 0
    return out


def test_a_comparison_made_again_is_equal(pair, tmp_path, capsys):
    assert main(["--reproduce", str(pair), "--out", str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("gaussian-bc: equal, all ")
    assert said[1].startswith("cvae-bc: equal, all ")


@pytest.mark.slow
@pytest.mark.parametrize("policy", [name for name in POLICIES if ":" not in name])
def test_a_run_of_every_class_made_again_is_equal(policy, tmp_path, capsys):
    out = ["--out", str(tmp_path / "out")]
    assert main(["--policy", policy, "--bc-only", *SMALL.split(), *out]) == 0
    assert main(["--reproduce", str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0
    assert ": equal, all " in capsys.readouterr().out


def test_what_was_changed_by_hand_shows(pair, tmp_path, capsys):
    changed = tmp_path / "changed"
    shutil.copytree(pair / "gaussian-bc", changed)
    record = (changed / "config.json").read_text()
    (changed / "config.json").write_text(record.replace('"lr": 0.0003', '"lr": 0.01'))
    assert main(["--reproduce", str(changed), "--out", str(tmp_path / "again")]) == 1
    printed = capsys.readouterr()
    assert "gaussian-bc: differs\n  energy_distance: 4 of 4 numbers, by " in printed.out
    assert f"{changed / 'config.json'}: was changed after its run was made" in printed.err


def test_what_cannot_be_made_again_is_said(pair, tmp_path, refused):
    assert "is not the directory" in refused("--reproduce", str(tmp_path))
    assert "--reproduce makes a run as it was" in refused("--reproduce", str(pair), "--steps", "4")
    shutil.copytree(pair / "gaussian-bc", tmp_path / "without")
    (tmp_path / "without" / "metrics.csv").unlink()
    out = ["--out", str(tmp_path / "again")]
    assert "there is nothing to compare with" in refused("--reproduce", str(tmp_path / "without"), *out)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_a_shell_can_complete(shell, capsys, tmp_path):
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert "bandit:ring" in script
    assert "normalizing-flow" in script
    if shell == "bash":
        (tmp_path / "script").write_text(script)
        ask = "source ./script; COMP_WORDS=(run_ablation.py --policy dif); COMP_CWORD=2; _shtab_run_ablation_py"
        said = subprocess.run(
            ["bash", "-c", f'{ask}; echo "${{COMPREPLY[@]}}"'], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        assert said.stdout.split() == ["diffusion"]


def test_a_shell_that_is_not_known_is_refused(refused):
    assert "choose from bash, zsh, tcsh" in refused("--print-completion", "fish")
