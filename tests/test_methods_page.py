"""docs/methods.md says of every preset and of every default of trainer, length and task what it is, and that is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from ablations.command.methods_table import table
from ablations.plan.budget import Budget
from core.options import written
from tasks.transforms import TransformConfig
from trainers import TrainerConfig

PAGE = (Path(__file__).parent.parent / "docs" / "methods.md").read_text()
ROWS = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \| ([^|]*) \|$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize(("part", "config"), [("trainer", TrainerConfig), ("", Budget), ("task", TransformConfig)])
def test_every_default_is_there_with_its_reason(part, config):
    rows = [(name.rpartition(".")[2], value, why) for name, value, why in ROWS if name.rpartition(".")[0] == part]
    fields = {field.name: field.default for field in dataclasses.fields(config)}
    assert [name for name, _, _ in rows] == list(fields)
    for name, value, why in rows:
        default = fields[name]
        if isinstance(default, float):
            assert float(value) == default, name
        else:
            assert value == ("none" if default is None else written(default)), name
        assert why.endswith("."), name


def test_every_preset_is_there_as_it_is():
    """`python -m ablations.command.methods_table` makes it anew."""
    assert f"\n{table()}\n" in PAGE
