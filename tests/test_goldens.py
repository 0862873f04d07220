"""Presets that are the method: every golden file replayed through the one trainer and its parts, to 1e-8 in float64.

The numbers were computed with each method's released code (tests/parity/methods/ names it), every draw replaced by a
prepared one. Errors planted in an order, a head and an epsilon show that the replay would notice.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from parity.files import errors_of, method_of
from parity.methods import METHODS
from parity.recipe import Unreadable

from core import fusion
from core.networks import NetworkConfig
from trainers import TrainerConfig
from trainers.improvements import QBonus

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(path for path in GOLDEN.glob("*.json") if method_of(path) in METHODS)
RELATIVE = 1e-8


def worst(path: Path) -> float:
    return max(errors_of(path).values())


def test_every_method_has_its_numbers():
    assert {method_of(path) for path in FILES} == set(METHODS)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_step_agrees_with_the_release(path, compiled):
    fusion.fuse(compiled)
    assert worst(path) < RELATIVE


#: method -> the order of updates that it does not have
OTHER_ORDER = {
    "iql": "policy-first",
    "fql": "critic-first",
    "rebrac": "together",
    "td3_bc": "together",
    "diffusion_ql": "together",
}


@pytest.mark.parametrize("method", OTHER_ORDER)
def test_another_order_of_updates_is_noticed(method, monkeypatch):
    settings = METHODS[method].settings
    monkeypatch.setattr(
        METHODS[method], "settings", lambda self: dataclasses.replace(settings(self), order=OTHER_ORDER[method])
    )
    assert worst(GOLDEN / f"{method}.json") > RELATIVE


@pytest.mark.parametrize("method", ["td3_bc", "fql", "rebrac", "diffusion_ql"])
def test_another_head_is_noticed(method, monkeypatch):
    monkeypatch.setattr(
        QBonus, "_pick", lambda self, heads, rng: (rng.uniform(), lambda values, ahead: values[:, 1])[1]
    )
    assert worst(GOLDEN / f"{method}.json") > RELATIVE


@pytest.mark.parametrize("method", ["fql", "rebrac"])
def test_another_epsilon_is_noticed(method, monkeypatch):
    check = NetworkConfig.__post_init__

    def torchs_epsilon(self):
        object.__setattr__(self, "norm_eps", 1e-5)
        check(self)

    monkeypatch.setattr(NetworkConfig, "__post_init__", torchs_epsilon)
    assert worst(GOLDEN / f"{method}.json") > RELATIVE


def test_the_moment_of_delayed_updates_is_noticed(monkeypatch):
    settings = METHODS["td3_bc"].settings
    monkeypatch.setattr(METHODS["td3_bc"], "settings", lambda self: dataclasses.replace(settings(self), delay="first"))
    assert worst(GOLDEN / "td3_bc.json") > RELATIVE


class TestCommand:
    def say(self, *paths):
        command = [sys.executable, "-m", "tests.parity", *map(str, paths)]
        return subprocess.run(command, capture_output=True, text=True, cwd=GOLDEN.parent.parent)

    def test_it_says_the_worst_error_last_on_each_line(self, tmp_path):
        longer = json.loads((GOLDEN / "td3_bc.json").read_text())[0]
        longer["probe"]["actions"][0][0] *= 1 + 1e-3
        changed = tmp_path / "td3_bc_changed.json"
        changed.write_text(json.dumps(longer))
        said = self.say(GOLDEN / "iql.json", changed)
        first, second = (float(line.split()[-1]) for line in said.stdout.splitlines())
        assert (said.returncode, said.stderr) == (0, "")
        assert first < RELATIVE
        assert second == pytest.approx(1e-3, rel=1e-2)

    def test_what_it_cannot_read_is_a_line(self, tmp_path):
        unknown, broken = tmp_path / "sac.json", tmp_path / "fql.json"
        unknown.write_text("[]")
        broken.write_text("[{}]")
        said = self.say(unknown, broken, tmp_path / "iql-not-there.json")
        assert said.returncode == 2
        assert "begins with no method" in said.stderr
        assert said.stderr.count("\n") == 3

    def test_its_methods_are_named_in_order(self):
        with pytest.raises(Unreadable, match="known are"):
            method_of(Path("other.json"))
        assert method_of(Path("diffusion_ql_max_q.json")) == "diffusion_ql"


def test_the_trainers_default_order_is_diffusion_qls():
    assert TrainerConfig().order == "critic-first"
