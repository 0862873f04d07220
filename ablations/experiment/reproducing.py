"""`--reproduce`: what a run or a comparison was made with, made again, and whether its numbers come out."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ablations.experiment import conduct
from ablations.plan.making import make, together
from ablations.record import recipe, results
from ablations.record.environment import environment
from ablations.record.integrity import FILES, UNREADABLE, content
from ablations.run import frozen
from ablations.run.execution import Execution
from core.options import OptionError

KEYS = ["selection", "sampler", "seed", "step", "metric"]
#: of an environment, what numbers may depend on
MATTERS = ("git", "python", "packages", "machine", "threads", "gpu", "device", "compiled")


@dataclass(frozen=True)
class Reproduced:
    """A line for each run, whether all numbers are equal, and whether it was interrupted."""

    text: str
    equal: bool
    interrupted: bool = False


def carry_out(directory: Path, out: Path, device: torch.device) -> Reproduced:
    """Make again what is in `directory`, in `out`, with as many threads and as compiled as then.

    Raises `OptionError` where there is no record, or what it says cannot be made here.
    """
    plan = recipe.plan_of(directory, "--reproduce")
    runs = together(frozen.shared(make(plan).runs))
    records = {run: recipe.record_of(run / "config.json") for run in results.run_directories(directory)}
    before = {run: _metrics(run) for run in records}
    then = next(iter(records.values())).get("environment", {})
    if isinstance(then.get("threads"), int) and then["threads"] > 0:
        torch.set_num_threads(then["threads"])
    conduct.begin(runs, out, device, "on" if then.get("compiled") else "off", plan.name)
    ended = conduct.carry_out(runs, out, Execution(device), plan.name)
    if ended.interrupted:
        return Reproduced("", False, True)
    again = {results.read_config(run)["label"]: run for run in results.run_directories(out)}
    lines, equal = [], True
    for run, record in records.items():
        found = list(_compared(before[run], _metrics(again[record["label"]]), record["interrupted"]))
        if not found:
            lines.append(f"{record['label']}: equal, all {len(before[run])} numbers bit for bit")
            continue
        equal = False
        lines += [f"{record['label']}: differs", *(f"  {line}" for line in found)]
        lines += [f"  {line}" for line in _other_circumstances(record.get("environment", {}), device)]
    return Reproduced("\n".join(lines), equal)


def _metrics(run: Path) -> pd.Series:
    """The numbers of a run by selection, sampler, seed, step and metric; says so where the file was changed."""
    path = run / "metrics.csv"
    try:
        text = content(path)
        frame = pd.read_csv(io.BytesIO(text), dtype={"value": float})
        values = frame.set_index(KEYS)["value"]
    except UNREADABLE:
        raise OptionError(f"--reproduce: {path} cannot be read; there is nothing to compare with") from None
    if values.index.has_duplicates or values.empty:
        raise OptionError(f"--reproduce: {path} does not hold each number once")
    record = recipe.record_of(run / "config.json", quietly=True)
    if FILES in record and record[FILES].get("metrics.csv") != hashlib.sha256(text).hexdigest():
        print(f"{path}: was changed after its run was made; compared as it stands", file=sys.stderr)
    return values


def _compared(before: pd.Series, again: pd.Series, interrupted: bool) -> Iterator[str]:
    """A line for each metric whose numbers differ, and one for those that only one of both has."""
    common = before.index.intersection(again.index)
    one, other = before[common], again[common]
    differ = (one != other) & ~(one.isna() & other.isna())
    for metric in dict.fromkeys(common.get_level_values("metric")):
        rows = common.get_level_values("metric") == metric
        count = int(differ[rows].sum())
        if count:
            most = (one[rows] - other[rows]).abs().max()
            scale = one[rows].abs().max()
            yield f"{metric}: {count} of {rows.sum()} numbers, by {most:.3g} at most (they are up to {scale:.3g})"
    gone, new = len(before) - len(common), len(again) - len(common)
    if gone:
        yield f"{gone} numbers of the record were not made again"
    if new and not interrupted:
        yield f"{new} numbers were made that the record has not"


def _other_circumstances(then: dict[str, Any], device: torch.device) -> Iterator[str]:
    """What else is not as it was, where numbers differ."""
    now = {**environment(), "device": str(device)}
    for name in MATTERS:
        if name in now and then.get(name) != now[name]:
            yield f"made with another {name}: {then.get(name)}, now {now[name]}"
