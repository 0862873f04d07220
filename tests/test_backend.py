"""`--backend d4rl` where its stack is not installed, or does not serve the task: one line, exit code 2."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from run_ablation import main


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("bandit", "bandit is not a dataset of D4RL"),
        ("local:hopper-medium", "local:hopper-medium is not a dataset of D4RL"),
        ("pen-human-v1", "no adroit environments"),
        ("kitchen-partial-v0", "no kitchen environments"),
    ],
)
def test_what_the_stack_does_not_serve_is_refused(capsys, task, said):
    assert main(["--task", task, "--backend", "d4rl"]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line


@pytest.mark.skipif(find_spec("mujoco_py") is not None, reason="the stack is installed here")
def test_without_the_stack_one_line_names_the_script(capsys):
    assert main(["--task", "hopper-medium-v2", "--backend", "d4rl"]) == 2
    line = capsys.readouterr().err.strip()
    assert "scripts/install_d4rl.sh" in line
    assert "mujoco_py" in line
    assert "\n" not in line
