"""CONTRIBUTING's examples: a policy class and a regularizer, each added by its code there and one entry."""

from __future__ import annotations

import re
import sys
import textwrap
import types
from pathlib import Path

import pytest

from ablations.record.results import read_config
from policies import POLICIES
from run_ablation import main
from trainers import REGULARIZERS

TEXT = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
BLOCKS = [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)]


def added(monkeypatch, name: str, code: str) -> types.ModuleType:
    """The code as a module of its own."""
    module = types.ModuleType(name)
    module.__doc__ = "An example."
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(code, name, "exec"), module.__dict__)
    return module


@pytest.fixture
def with_examples(monkeypatch):
    policy, regularizer = BLOCKS
    monkeypatch.setitem(POLICIES, "uniform", added(monkeypatch, "uniform", policy).UniformConfig)
    monkeypatch.setitem(REGULARIZERS, "huber", added(monkeypatch, "huber", regularizer).Huber)


@pytest.mark.usefixtures("with_examples")
def test_what_was_added_trains_by_name_and_option(tmp_path):
    command = "--policy uniform --policy.width 0.3 --regularizer huber --regularizer.delta 0.2 --steps 3 --seeds 0"
    assert main([*command.split(), "--network.hidden", "8", "--out", str(tmp_path / "out")]) == 0
    config = read_config(tmp_path / "out")
    assert config["label"] == "uniform-huber-q-max"
    assert config["options"]["policy"]["width"] == 0.3
    assert config["options"]["regularizer"]["delta"] == 0.2


@pytest.mark.usefixtures("with_examples")
def test_what_was_added_is_listed_and_refused_like_the_rest(tmp_path, capsys):
    assert main(["--list"]) == 0
    assert "huber" in capsys.readouterr().out
    assert main(["--policy", "uniform", "--selection", "mode", "--out", str(tmp_path / "out")]) == 2
    assert "needs a policy with a mode, which uniform is not" in capsys.readouterr().err
