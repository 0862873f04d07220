"""Runs of some seeds and the same runs of others, made by several commands or machines, as one: `--join`.

What is joined may differ in its seeds and in where it was made, and in nothing else. A comparison is joined run by run;
a run that only some of the directories have is kept with the seeds it has.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ablations import comparison, groups, results
from ablations.table import heading
from core.options import OptionError
from tasks import make_task

#: what a record says of its own seeds and of how they were made
OWN = {"seeds", "steps_done", "halted", "interrupted", "seconds", "groups", "environment", "environments"}
#: of an environment, what numbers may depend on
TELLING = ("git", "packages", "device", "gpu", "compiled")


def carry_out(directories: Sequence[Path], out: Path) -> str:
    """Join, write into the new directory `out` and draw; returns the table.

    Raises `OptionError` for a directory that is no run and no comparison, for runs that are not whole or that differ in
    more than their seeds, and for a seed that is there twice.
    """
    if len(directories) < 2:
        raise OptionError("--join: one directory alone is whole; name two or more, of other seeds")
    found = [_runs(directory) for directory in directories]
    alone = [(directory / "config.json").exists() for directory in directories]
    if len(set(alone)) > 1:
        raise OptionError(f"--join: {directories[alone.index(True)]} is one run, and another a comparison; join alike")
    parts = {label: [runs[label] for runs in found if label in runs] for runs in found for label in runs}
    if all(alone) and len(parts) > 1:
        raise OptionError(f"--join: {', '.join(parts)} are not the same run; name directories of other seeds of one")
    records = {label: _alike(label, places) for label, places in parts.items()}
    first = next(iter(records.values()))
    if any(record["task"] != first["task"] for record in records.values()):
        raise OptionError("--join: these are runs of several tasks; join those of one, or see --aggregate")
    studies = [] if all(alone) else [_comparison(directory)["study"] for directory in directories]
    study = studies[0] if len(set(studies)) == 1 else None
    results.claim(out)
    with results.new_directory(out) as partial:
        if all(alone):
            groups.join(next(iter(parts.values())), partial)
        else:
            for label, places in parts.items():
                (partial / label).mkdir()
                groups.join(places, partial / label)
            results.write_json(partial / "comparison.json", {"study": study, "runs": list(parts)})
    seeds = max(len(results.read_config(run)["seeds"]) for run in results.run_directories(out))
    read = comparison.report(out, make_task(first["task"], first.get("backend", "gymnasium")), study)
    return f"{heading(first['task'], seeds)}\n\n{read}"


def _comparison(directory: Path) -> dict[str, Any]:
    return json.loads((directory / "comparison.json").read_text())


def _runs(directory: Path) -> dict[str, Path]:
    """Label -> directory of the run itself or of each of a comparison's, in the order they are listed."""
    try:
        found = {results.read_config(run)["label"]: run for run in results.run_directories(directory)}
        next(iter(found))
    except (OSError, ValueError, LookupError, TypeError, StopIteration):
        raise OptionError(f"--join: {directory} is not the directory of a run or comparison") from None
    return found


def _alike(label: str, places: Sequence[Path]) -> dict[str, Any]:
    """The first of the records, all of which say the same of everything but their seeds."""
    records = [results.read_config(place) for place in places]
    seeds: dict[int, Path] = {}
    for place, record in zip(places, records, strict=True):
        if record["interrupted"]:
            raise OptionError(f"--join: {place} was interrupted; let it go on to its end")
        try:
            results.load_run(place)
        except OptionError as error:
            raise OptionError(f"--join: {error}") from None
        other = [key for key in {**records[0], **record} if key not in OWN and record.get(key) != records[0].get(key)]
        if other:
            here, there = results.settings(records[0]), results.settings(record)
            named = [f"{key} ({there.get(key)}, not {value})" for key, value in here.items() if there.get(key) != value]
            raise OptionError(f"--join: {place} differs from {places[0]} in {', '.join(named or other)}")
        for seed in record["seeds"]:
            if seed in seeds:
                raise OptionError(f"--join: seed {seed} of {label} is in {seeds[seed]} and in {place}; it may be once")
            seeds[seed] = place
    apart = [key for key in TELLING if len({json.dumps(r.get("environment", {}).get(key)) for r in records}) > 1]
    if apart:
        print(f"{label}: not all seeds were made with the same {', '.join(apart)}", file=sys.stderr)
    return records[0]
