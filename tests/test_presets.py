"""Presets are rows of names and options that exist, and whose parts have what they need."""

from __future__ import annotations

import dataclasses

import pytest

from ablations.config import CHOICES, FIXED
from ablations.presets import PARTS, PRESETS

#: built beside these rows, by others: what is named here is excused only until it exists
COMING = {"deterministic", "mixture", "flow", "consistency", "perturbed", "distilled", "edm"}
COMING_OPTIONS = {"policy.sampler", "policy.sample_steps"}
NESTED = ("base", "behaviour")


def row(name, released):
    """The names of a preset's parts, and its options without those of a selection the release leaves."""
    preset = PRESETS[name]
    options = {**preset.options, **(preset.as_released if released else {})}
    names = {part: options.pop(part, chosen) for part, chosen in preset.parts.items()}
    if names["selection"] != preset.parts["selection"]:
        options = {k: v for k, v in options.items() if not k.startswith("selection.") or k in preset.as_released}
    return names, options


def built(name, released=False):
    """Each part's configuration, from all its options but the nested ones (a part that is still coming is left out)."""
    names, options = row(name, released)
    classes = {**FIXED, **{part: CHOICES[part][chosen] for part, chosen in names.items() if chosen in CHOICES[part]}}
    parts = {}
    for part, config in classes.items():
        known = {field.name for field in dataclasses.fields(config)}
        own = {key.partition(".")[2]: value for key, value in options.items() if key.startswith(f"{part}.")}
        strays = {field for field in own if field not in known and f"{part}.{field}" not in COMING_OPTIONS}
        assert not strays, f"{part} {names.get(part)} has no {strays}"
        parts[part] = config(**{field: value for field, value in own.items() if field in known and field not in NESTED})
    return parts


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("released", [False, True])
class TestRow:
    def test_parts_and_options_exist(self, name, released):
        names, options = row(name, released)
        assert tuple(names) == PARTS == tuple(CHOICES)
        assert {key.partition(".")[0] for key in options} <= {*PARTS, *FIXED}
        assert set(built(name, released)) >= {*PARTS, *FIXED} - {"policy"}
        assert names["policy"] in CHOICES["policy"] or names["policy"] in COMING
        for key, value in options.items():
            assert not key.endswith(NESTED) or value in CHOICES["policy"] or value in COMING

    def test_the_parts_have_what_they_need(self, name, released):
        parts, (_, options) = built(name, released), row(name, released)
        assert parts["backup"].has_value or not parts["improvement"].needs_value
        assert parts["improvement"].adds_bonus or parts["regularizer"].trains
        if "behaviour" in {field.name for field in dataclasses.fields(parts["regularizer"])}:
            assert parts["regularizer"].needs_behaviour == ("regularizer.behaviour" in options)


@pytest.mark.parametrize("name", PRESETS)
def test_the_release_differs_where_it_is_said_to(name):
    preset = PRESETS[name]
    default = {**preset.parts, **preset.options}
    assert all(default.get(key) != value for key, value in preset.as_released.items())
    assert preset.paper
    assert preset.note
