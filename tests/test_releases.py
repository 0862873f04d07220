"""`--preset X --as-released` is what the golden numbers of X's release hold, step for step, but for sizes and weights.

tests/test_goldens.py replays the released numbers through parts and a trainer that tests/parity builds; here the run
that the command line makes of the preset is compared with those, option by option.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from parity.methods import METHODS
from parity.methods.srpo import DECAY

from ablations.plan.config import make_run
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from core.networks import NetworkConfig
from core.options import Options

GOLDEN = Path(__file__).parent / "golden"
TASK = "hopper-medium-v2"
HELD = {name: row.golden for name, row in PRESETS.items() if row.golden}
#: of a file's cases, the one of the preset, if not the first
CASE = {"edp": 2}
#: sizes, how weights start, which the files give, and leave to have so few steps
SIZES = {
    "hidden",
    "depth",
    "init",
    "batch",
    "time_dim",
    "time_width",
    "time_depth",
    "T",
    "heads",
    "allow_residual_signal",
}
#: numbers of the method that a file's `config` sets
GIVEN = {
    "diffusion-ql": {"trainer.ema_start", "trainer.ema_every", "trainer.grad_norm"},
    "consistency-ac": {"trainer.ema_start", "trainer.ema_every", "trainer.grad_norm", "policy.growth"},
    "rebrac": {"regularizer.coef"},
    "edp": {"trainer.grad_norm", "policy.sample_steps"},
}


def flat(prefix, config):
    """Option -> value, of a configuration and those inside it."""
    found = {prefix: type(config)}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        key = f"{prefix}.{field.name}"
        found |= flat(key, value) if isinstance(value, Options) else {key: value}
    if isinstance(config, NetworkConfig) and config.norm == "none" and config.block == "plain":
        # of nothing
        del found[f"{prefix}.norm_eps"]
    return found


def options(parts, trainer, network="policy"):
    named = ("policy", "regularizer", "improvement", "backup", "critic")
    every = [flat(name, getattr(parts, name)) for name in named]
    every += [flat(f"{name}.network", parts.network_of(name)) for name in (network, "critic")]
    return {key: value for one in [*every, flat("trainer", trainer)] for key, value in one.items()}


def differing(ours, theirs):
    """Options of which two runs differ, without sizes."""
    keys = {key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)}
    return {key for key in keys if key.rpartition(".")[2] not in SIZES}


def golden(name):
    content = json.loads((GOLDEN / f"{HELD[name]}.json").read_text())
    case = content[CASE.get(name, 0)] if isinstance(content, list) else content
    return METHODS[HELD[name]](case)


def released(name):
    run = make_run(Request(TASK, preset=name, as_released=True))
    return run, options(run.parts, run.trainer)


@pytest.mark.parametrize("name", [name for name in HELD if name != "srpo"])
def test_the_preset_is_what_its_numbers_hold(name):
    method, (run, ours) = golden(name), released(name)
    assert differing(ours, options(method.parts(), method.settings())) == GIVEN.get(name, set())
    assert (run.budget.lr_decay == "cosine") == (method.annealing() is not None)


def test_srpo_is_the_three_trainers_of_its_release_in_one():
    """The policy from the third; critic, V and the order of averages from the first; the behaviour from the second."""
    method, (run, ours) = golden("srpo"), released("srpo")
    critics, policy, cloning = method.trainer, method.extraction, method.cloning
    same = {"policy", "regularizer", "improvement", "policy.network"}

    def of(trainer, parts):
        found = options(trainer.parts, trainer.config)
        return {key: value for key, value in found.items() if key.startswith(tuple(parts))}

    expected = {**of(critics, {"critic", "backup", "trainer"}), **of(policy, same)}
    assert differing(ours, expected) == {"trainer.behaviour_decay"}
    assert run.trainer.behaviour_decay == cloning.config.weight_decay == DECAY
    networks = run.parts.network_of("regularizer"), cloning.parts.network_of("policy")
    assert differing(*(flat("network", network) for network in networks)) == set()
    assert run.budget.lr_decay == "cosine"
    assert policy.annealing is not None


def test_every_golden_file_has_its_preset():
    assert set(HELD.values()) == set(METHODS)
