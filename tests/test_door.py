"""The Python door: plans are run and read, policies act as they were evaluated, parts of one's own are parts."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_parts import Ridge, UniformConfig

from ablations.plan.making import make
from policies import POLICIES
from policies.gaussian import GaussianConfig
from policy_ablation import OptionError, Plan, load, run
from policy_ablation.testing import check_policy
from run_ablation import main
from tasks import bandits

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"network.hidden": 8, "network.depth": 1, "trainer.batch": 8}


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bandits, "EVALUATION_SAMPLES", 200)
        patch.setattr(bandits, "KEPT_SAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two classes with and without Q, one seed, so that what is evaluated anew is equal to the last digit."""
    out = tmp_path_factory.mktemp("door") / "runs"
    plan = Plan(
        policy=["diffusion", "gaussian"],
        improvement=["none", "q-max"],
        selection=["one"],
        seeds=[3],
        steps=9,
        options={**SMALL, "policy.T": 3},
    )
    return run(plan, out, device="cpu", compile="off")


def test_results_are_what_the_directory_holds(made):
    again = load(made.directory)
    assert again.runs == ["diffusion-bc", "diffusion-q-max", "gaussian-bc", "gaussian-q-max"]
    assert set(again.summary["run"]) == set(again.runs)
    assert again.figure("samples", made.directory / "again.pdf").read_bytes()[:4] == b"%PDF"
    assert "gaussian-q-max" in made.table
    assert again.record("gaussian-bc")["seeds"] == [3]
    assert again.plan.task == "bandit"


@pytest.mark.parametrize("name", ["diffusion-bc", "diffusion-q-max", "gaussian-bc", "gaussian-q-max"])
def test_a_loaded_policy_is_the_one_that_was_evaluated(made, name):
    metrics = made.metrics[made.metrics["label"] == name]
    recorded = dict(zip(metrics["metric"], metrics["value"], strict=True))
    measured = made.policy(name, seed=3).evaluate()
    assert recorded == pytest.approx(measured, rel=1e-12, nan_ok=True)


def test_what_a_policy_can_be_asked(made):
    policy = made.policy("gaussian-q-max", seed=3)
    obs, several = np.zeros(2), np.zeros((5, 2))
    assert policy.act(obs).shape == (2,)
    assert policy.act(several).shape == (5, 2)
    assert policy.sample(obs, 4).shape == (4, 2)
    assert policy.sample(several, 4).shape == (5, 4, 2)
    assert policy.log_prob(obs, policy.act(obs)).shape == ()
    assert policy.log_prob(several, policy.act(several)).shape == (5,)
    assert policy.q(several, policy.act(several)).shape == (5,)
    policy.reseed(1)
    first = policy.act(several)
    policy.reseed(1)
    np.testing.assert_array_equal(first, policy.act(several))


def test_what_cannot_be_asked_is_said(made):
    for ask, told in [
        (lambda: made.policy("gaussian-bc", seed=0), "has no seed 0; there are 3"),
        (lambda: made.policy("gausian-bc", seed=3), "did you mean gaussian-bc?"),
        (lambda: made.policy(seed=3), "name a run"),
        (lambda: made.policy("gaussian-bc", seed=3, view="argmax-q"), "choose from one"),
        (lambda: made.policy("gaussian-bc", seed=3).q(np.zeros(2), np.zeros(2)), "has no critic"),
        (lambda: made.policy("diffusion-bc", seed=3).log_prob(np.zeros(2), np.zeros(2)), "no density"),
        (lambda: made.policy("gaussian-bc", seed=3).act(np.zeros(5)), "observations must be [2] or [B, 2], got [5]"),
        (lambda: made.figure("sample"), "did you mean samples?"),
        (lambda: made.figure("samples", "x.gif"), "a figure ends in .png, .pdf, .svg"),
        (lambda: load(made.directory / "none"), "none"),
    ]:
        with pytest.raises(OptionError, match=re.escape(told)):
            ask()


def test_a_rollout_by_hand_scores_what_was_recorded(tmp_path):
    """In the environment itself, one step after another, all episodes beside each other as the evaluation has them."""
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    episodes = 2
    plan = Plan(
        task="local:hopper-medium",
        policy="gaussian",
        bc_only=True,
        seeds=[1],
        steps=5,
        eval_episodes=episodes,
        options={**SMALL, "task.observation": "z-score"},
    )
    results = run(plan, tmp_path / "out", device="cpu", compile="off")
    recorded = dict(zip(results.metrics["metric"], results.metrics["value"], strict=True))
    policy = results.policy(seed=1)
    starts = policy.rng.integers(2**31 - 1, episodes)[0].tolist()
    environments = [gymnasium.make("Hopper-v4") for _ in starts]
    obs = np.stack([env.reset(seed=start)[0] for env, start in zip(environments, starts, strict=True)])
    returns, over = np.zeros(episodes), np.zeros(episodes, bool)
    while not over.all():
        actions = policy.act(obs)
        for place in np.flatnonzero(~over):
            obs[place], reward, terminated, truncated, _ = environments[place].step(actions[place])
            returns[place] += reward
            over[place] = terminated or truncated
    assert returns.mean() == pytest.approx(recorded["return"], rel=1e-12)
    assert policy.evaluate()["return"] == pytest.approx(recorded["return"], rel=1e-12)


@pytest.mark.parametrize("name", POLICIES)
def test_every_class_here_keeps_the_contract(name):
    check_policy(POLICIES[name])


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("loss_of_a_batch", "bc_loss must be"),
        ("mixes_seeds", "axis 0"),
        ("draws_elsewhere", "global generator"),
        ("leaves_the_box", "bounded is True"),
        ("forgets_a_module", "does not reach"),
    ],
)
def test_what_breaks_the_contract_is_named(broken, told):
    with pytest.raises(AssertionError, match=told):
        check_policy(replace(UniformConfig(), broken=broken))


def test_a_class_of_ones_own_trains_from_python(tmp_path):
    check_policy(UniformConfig)
    plan = Plan(
        policy=[UniformConfig, "gaussian"], regularizer=["bc", Ridge], bc_only=True, seeds=[0], steps=3, options=SMALL
    )
    results = run(plan, tmp_path / "out", device="cpu", compile="off")
    assert results.runs == [
        "own_parts.UniformConfig-bc",
        "own_parts.UniformConfig-own_parts.Ridge",
        "gaussian-bc",
        "gaussian-own_parts.Ridge",
    ]
    assert (tmp_path / "out" / "figure.png").exists()
    assert results.policy("own_parts.UniformConfig-bc").act(np.zeros(2)).shape == (2,)
    assert Plan(policy=GaussianConfig).policy == ("gaussian",)
    assert Plan(policy=UniformConfig(width=0.2)).options == {"policy.width": (0.2,)}


def test_a_file_in_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text((ROOT / "tests" / "own_parts.py").read_text())
    monkeypatch.chdir(tmp_path)
    command = "--policy mine:UniformConfig --policy.width 0.2 --bc-only --seeds 0 --steps 2 --compile off --out out"
    assert main([*command.split(), "--network.hidden", "8"]) == 0
    assert load("out").policy().act(np.zeros(2)).shape == (2,)


@pytest.mark.slow
def test_a_class_of_ones_own_trains_by_flag(tmp_path, monkeypatch, capsys):
    """From a file in the working directory, in a process that has not seen it."""
    (tmp_path / "mine.py").write_text((ROOT / "tests" / "own_parts.py").read_text())
    command = "--policy mine:UniformConfig --policy.width 0.2 --bc-only --seeds 0 --steps 2 --compile off --device cpu"
    done = subprocess.run(
        [sys.executable, str(ROOT / "run_ablation.py"), *command.split(), *"--out out --network.hidden 8".split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "figure.png").exists()


@pytest.mark.parametrize(
    ("flag", "told"),
    [
        ("--policy nowhere:Config", "nowhere cannot be imported: ModuleNotFoundError"),
        ("--policy own_parts:Nothing", "module own_parts has no Nothing"),
        ("--policy own_parts:UniformPolicy", "is not a class that derives from policies.base.PolicyConfig"),
        ("--policy os:system", "is not a class that derives from"),
        (
            "--regularizer own_parts:UniformConfig",
            "is not a class that derives from trainers.penalty.RegularizerConfig",
        ),
        ("--task own_parts:UniformConfig", "is not a class that derives from tasks.base.Task"),
    ],
)
def test_what_is_no_part_is_said(flag, told, capsys):
    assert main(flag.split()) == 2
    assert told in capsys.readouterr().err


def test_a_file_imports_nothing(tmp_path, monkeypatch):
    """A module that a file names is not imported: only what was named by a person is known."""
    (tmp_path / "planted.py").write_text("raise SystemExit('ran')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match="unknown 'planted:Config'"):
        make(Plan.from_dict({"policy": "planted:Config"}))


@pytest.mark.slow
def test_the_page_runs(tmp_path):
    """docs/python.md, block after block in one process, in an empty directory, from where nothing is on the path."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.S)
    assert len(blocks) >= 3
    code = "\n".join(map(textwrap.dedent, blocks))
    assert len([line for line in blocks[0].splitlines() if line.strip()]) < 20
    code = code.replace("steps=2_000", "steps=5").replace(
        "seeds=range(3)", 'seeds=range(2), options={"network.hidden": 8}'
    )
    (tmp_path / "core.py").write_text("raise SystemExit('a reader has files of such names too')")
    found = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport policy_ablation\nsys.path.pop(0)\n"
    done = subprocess.run(
        [sys.executable, "-c", found + code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_installed_is_all_there_is():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    own = ("core", "policies", "critics", "trainers", "tasks", "ablations")
    there = {
        str(file.parent.relative_to(ROOT)).replace("/", ".") for name in own for file in (ROOT / name).rglob("*.py")
    }
    assert listed >= {"policy_ablation", *(f"policy_ablation.parts.{name}" for name in there)}
    wanted = [line.partition("#")[0].strip() for line in (ROOT / "requirements-tasks.txt").read_text().splitlines()]
    assert project["project"]["optional-dependencies"]["tasks"] == [
        line for line in wanted if line and not line.startswith("-r")
    ]
