"""Presets are rows of names and options that exist, and whose parts have what they need."""

from __future__ import annotations

import dataclasses

import pytest

from ablations.plan.config import make_run
from ablations.plan.parts import CHOICES
from ablations.plan.preset import PARTS
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from critics import BACKUPS
from tasks.transforms import TransformConfig
from trainers import SELECTIONS

REGISTRIES = {**CHOICES, "selection": SELECTIONS}
NESTED = ("base", "behaviour")


def row(name, released):
    """The names of a preset's parts, and its options without those of a selection the release leaves."""
    preset = PRESETS[name]
    options = {**preset.options, **(preset.as_released if released else {})}
    names = {part: options.pop(part, chosen) for part, chosen in preset.parts.items()}
    if names["selection"] != preset.parts["selection"]:
        options = {k: v for k, v in options.items() if not k.startswith("selection.") or k in preset.as_released}
    return names, options


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("released", [False, True])
def test_parts_and_options_exist_and_reach_the_run(name, released):
    names, options = row(name, released)
    assert tuple(names) == PARTS == tuple(REGISTRIES)
    run = make_run(Request("bandit", preset=name, as_released=released))
    built = {part: getattr(run.parts, part) for part in (*CHOICES, "critic", "network")}
    # the bandit is a one-step task, whose backup does nothing
    built |= {f"{part}.network": network for part, network in run.parts.networks.items()}
    built |= {f"{part}.{field}": getattr(built[part], field)
              for part in CHOICES for field in NESTED if hasattr(built[part], field)}  # fmt: skip
    built |= {"trainer": run.trainer, "selection": run.views[0].selection, "backup": BACKUPS[names["backup"]]()}
    # and its data are learned from as they are
    assert run.transforms == TransformConfig()
    built["task"] = make_run(Request("hopper-medium-v2", preset=name, as_released=released)).transforms
    for part, chosen in names.items():
        assert isinstance(built[part], REGISTRIES[part][chosen])
    for key, value in options.items():
        part, _, field = key.rpartition(".")
        assert field in {f.name for f in dataclasses.fields(built[part])}, key
        if field in NESTED:
            assert isinstance(getattr(built[part], field), CHOICES["policy"][value])
        elif part != "backup":
            assert getattr(built[part], field) == value


@pytest.mark.parametrize("name", PRESETS)
def test_the_release_differs_where_it_is_said_to(name):
    preset = PRESETS[name]
    default = {**preset.parts, **preset.options}
    assert all(default.get(key) != value for key, value in preset.as_released.items())
    assert preset.paper
    assert preset.note
