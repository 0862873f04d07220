"""Run directories that differ only in their seeds, joined into the one of all their seeds."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.record import results
from ablations.record.integrity import FILES, Damaged, bound, checked, write_json
from core.options import OptionError
from trainers import checkpoint


def join(parts: Sequence[Path], directory: Path) -> None:
    """Make of run directories that differ only in their seeds the one of all their seeds, of the files all have."""
    records = [results.read_config(part) for part in parts]
    joined = {**records[0], "seconds": round(sum(record["seconds"] for record in records), 1)}
    for name in ("seeds", "halted", "diverged"):
        joined[name] = [seed for record in records for seed in record.get(name, [])]
    joined["interrupted"] = any(record["interrupted"] for record in records)
    # where all seeds of a group have stopped early, others may have gone on
    least = min if joined["interrupted"] else max
    joined["steps_done"] = least(record["steps_done"] for record in records)
    joined["groups"] = [group for record in records for group in _groups(record)]
    made = [environment for record in records for environment in environments(record)]
    if any(environment != made[0] for environment in made):
        joined["environments"] = made
    both = list(zip(parts, records, strict=True))
    metrics = [_read(part, "metrics.csv", record) for part, record in both]
    gone = [{str(one["seed"]) for one in record.get("diverged", [])} for record in records]
    _join_rows(metrics if joined["interrupted"] else _as_long(metrics, gone)).to_csv(
        directory / "metrics.csv", index=False
    )

    def all_have(name: str) -> bool:
        there = [(part / name).exists() for part in parts]
        if any(there) and not all(there):
            print(f"{joined['label']}: {name} is not in all of its directories, left out", file=sys.stderr)
        return all(there)

    if all_have("training.csv"):
        training = [_read(part, "training.csv", record) for part, record in both]
        _join_rows(training).to_csv(directory / "training.csv", index=False)
    if all_have("log.csv"):
        _join_rows([_read(part, "log.csv", record) for part, record in both]).to_csv(directory / "log.csv", index=False)
    if all_have("samples.npz"):
        counts = [len(record["seeds"]) for record in records]
        together = _join_samples([results.load_samples(part) for part in parts], counts)
        np.savez_compressed(directory / "samples.npz", **together)  # type: ignore[arg-type]
    if all_have("checkpoint.pt"):
        checkpoint.join([part / "checkpoint.pt" for part in parts], directory / "checkpoint.pt")
    write_json(directory / "config.json", {**joined, FILES: bound(directory)})


def _groups(record: dict[str, Any]) -> list[list[int]]:
    return record.get("groups", [record["seeds"]])


def environments(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Where each of a run's groups of seeds was made."""
    return record.get("environments", [record.get("environment", {})] * len(_groups(record)))


def _join_samples(samples: Sequence[dict[str, np.ndarray]], counts: Sequence[int]) -> dict[str, np.ndarray]:
    """Of each name the arrays `[S, ...]` of all groups; a group that diverged before it was evaluated has NaN."""
    joined = {}
    for name, array in {name: array for one in samples for name, array in one.items()}.items():
        shape = array.shape[1:]
        of_each = [one.get(name, np.full((n, *shape), np.nan)) for one, n in zip(samples, counts, strict=True)]
        joined[name] = array if name.startswith("reference_") else np.concatenate(of_each)
    return joined


def _as_long(frames: Sequence[pd.DataFrame], diverged: Sequence[set[str]]) -> list[pd.DataFrame]:
    """A group that trains no more ends before others do.

    The last evaluation of its seeds that stopped early is that of later steps too; those that diverged have none.
    """
    steps = sorted({step for frame in frames for step in frame.get("step", [])}, key=int)
    made = []
    for frame, gone in zip(frames, diverged, strict=True):
        going = frame[~frame["seed"].isin(gone)] if len(frame) else frame
        last = max(going["step"], key=int) if len(going) else None
        later = [] if last is None else steps[steps.index(last) + 1 :]
        made.append(pd.concat([frame, *(going[going["step"] == last].assign(step=step) for step in later)]))
    return made


def _join_rows(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Rows in the order of one run: by step, then as each step lists its views and metrics, then by seed."""
    some = [frame for frame in frames if not frame.empty]
    if not some:
        return frames[0]
    frames = some
    rows = pd.concat([frame.assign(place=frame.groupby(["step", "seed"]).cumcount()) for frame in frames])
    rows = rows.assign(at=rows["step"].astype(int)).sort_values(["at", "place"], kind="stable")
    return rows.drop(columns=["place", "at"])


def _read(run: Path, name: str, record: dict[str, Any]) -> pd.DataFrame:
    """As text, so that every number stays as it was written; a file without rows may have no columns either."""
    try:
        content = checked(run, name, record)
        return pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False) if content.strip() else pd.DataFrame()
    except Damaged:
        raise
    except (OSError, ValueError):
        raise OptionError(f"{run / name}: cannot be read; remove it to go without, or make the run again") from None
