"""The plan that makes what a directory holds once more: every record is a recipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablations.plan.parts import CHOICES, FIXED
from ablations.plan.plan import BUDGET, Plan
from ablations.record import results
from ablations.record.form import problem_of_run
from ablations.record.integrity import LARGEST_RECORD, UNREADABLE, content, unsigned
from core.options import OptionError


def plan_of(directory: Path, command: str = "a recipe") -> Plan:
    """The plan of a run or a comparison that is there, changed by hand or not. Raises `OptionError` for none."""
    try:
        runs = results.run_directories(directory)
    except UNREADABLE:
        runs = []
    if not runs:
        raise results.not_of_runs(command, directory)
    study = results.read_comparison(directory)["study"] if (directory / "comparison.json").is_file() else None
    return plan_of_records([record_of(run / "config.json") for run in runs], study)


def record_of(path: Path, quietly: bool = False) -> dict[str, Any]:
    """A run's record as it stands; says so where it was changed, if not `quietly`.

    Raises `OptionError` where it is none.
    """
    try:
        said = json.loads(content(path, LARGEST_RECORD))
    except UNREADABLE:
        raise OptionError(f"{path} cannot be read") from None
    return checked(said, path, quietly)


def checked(said: Any, path: Path, quietly: bool = False) -> dict[str, Any]:
    """As `record_of`, of what a file was found to hold."""
    if not isinstance(said, dict):
        raise OptionError(f"{path} is not the record of a run")
    record, as_written = unsigned(said)
    problem = problem_of_run(record)
    if problem:
        raise OptionError(f"{path} is not the record of a run (see its {problem})")
    if not (as_written or quietly):
        print(f"{path}: was changed after its run was made; taken as it stands", file=sys.stderr)
    return record


def plan_of_records(records: list[dict[str, Any]], study: str | None = None) -> Plan:
    """The plan of the records of `config.json`; each run is an arm that sets everything."""
    first = records[0]
    return Plan(
        task=first["task"],
        backend=first.get("backend", "gymnasium"),
        arms={record["label"]: _arm(record) for record in records},
        name=study,
    )


def _arm(record: Mapping[str, Any]) -> dict[str, Any]:
    preset, released = record["preset"] or "", " as released"
    options = dict(_flat(record["options"]))
    for view in record["views"]:
        # what the way to act does not say itself was said of all
        said = view["selection_label"].partition(":")[2]
        own = {pair.partition("=")[0].replace("-", "_") for pair in said.split(",")}
        options |= {f"selection.{key}": value for key, value in view["selection"].items() if key not in own}
    names = {key: name for key, name in record["names"].items() if "." in key and not key.endswith(".network")}
    samplers = dict.fromkeys(view["sampler_label"] for view in record["views"] if view["policy"] is not None)
    return {
        **({"preset": preset.removesuffix(released)} if preset else {}),
        **({"as_released": True} if preset.endswith(released) else {}),
        **{part: record["names"][part] for part in CHOICES},
        "options": {**names, **options},
        "selection": list(dict.fromkeys(view["selection_label"] for view in record["views"])),
        "resample": list(samplers),
        "seeds": record["seeds"],
        **{name: record[name] for name in BUDGET if record.get(name) is not None},
        "precision": record.get("precision", "float32"),
        "critic_from": record.get("critic_from"),
        "varied": record.get("varied", {}),
    }


def _flat(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """`part.field` and value of each option; what stands inside another part is named with it."""
    for part in (*CHOICES, *FIXED, *(key for key in options if key.endswith(".network"))):
        yield from _fields(part, options.get(part, {}))


def _fields(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        key = f"{prefix}.{name}"
        if isinstance(value, Mapping):
            yield from _fields(key, value)
        elif value is not None:
            yield key, value
