"""The plan that makes what a directory holds once more: every record is a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ablations.plan.parts import CHOICES, FIXED
from ablations.plan.plan import BUDGET, Plan
from ablations.record import results


def plan_of(directory: Path) -> Plan:
    """The plan of a run or a comparison that is there. Raises `OptionError` where there is none."""
    records = [results.read_config(run) for run in results.run_directories(directory)]
    if not records:
        raise results.not_of_runs("a recipe", directory)
    study = results.read_comparison(directory)["study"] if (directory / "comparison.json").is_file() else None
    return plan_of_records(records, study)


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
