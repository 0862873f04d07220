"""Runs of some seeds and the same runs of others, made by several commands or machines, as one: `--join`.

What is joined may differ in its seeds and in where it was made, and in nothing else. A comparison is joined run by run;
a run that only some of the directories have is kept with the seeds it has, which is said.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.record import results, seeds_joined
from ablations.record.directories import claim, new_directory
from ablations.record.integrity import FILES, UNREADABLE, Damaged, say_missing, write_json
from ablations.report.showing import Shown, refuse_missing_samples, show
from ablations.report.table import heading
from core.options import OptionError
from tasks import make_task

#: what a record says of its own seeds, of how they were made, and of what they were compared with
OWN = {
    FILES,
    "seeds",
    "steps_done",
    "halted",
    "diverged",
    "seconds",
    "groups",
    "environment",
    "environments",
    "physics",
    "varied",
}
#: without these it is no run's
NEEDED = {"label", "task", "names", "views", "seeds", "interrupted", "steps_done"}
#: of an environment, what numbers may depend on
TELLING = ("git", "packages", "machine", "threads", "device", "gpu", "compiled")


def carry_out(directories: Sequence[Path], out: Path) -> Shown:
    """Join, write into the new directory `out` and draw; returns the table.

    Raises `OptionError` for a directory that is no run and no comparison, for runs that were interrupted, are damaged
    or differ in more than their seeds, and for a seed that is there twice.
    """
    found = _alike_directories(directories)
    study, labels = _listed(directories, found)
    parts = {label: [runs[label] for runs in found if label in runs] for label in labels}
    records = {label: _alike(places) for label, places in parts.items() if places}
    first = next(iter(records.values()))
    if any(record["task"] != first["task"] for record in records.values()):
        raise OptionError("--join: these are runs of several tasks; join those of one, or see --aggregate")
    task = make_task(first["task"], first.get("backend", "gymnasium"))
    refuse_missing_samples([place for places in parts.values() for place in places], task, study)
    _say_what_is_missing(directories, found, labels)
    claim(out)
    with new_directory(out) as partial:
        if (directories[0] / "config.json").exists():
            seeds_joined.join(parts[labels[0]], partial)
        else:
            for label, places in ((label, places) for label, places in parts.items() if places):
                (partial / label).mkdir()
                seeds_joined.join(places, partial / label)
            write_json(partial / "comparison.json", {"study": study, "runs": labels})
    seeds = {len(results.read_config(run)["seeds"]) for run in results.run_directories(out)}
    shown = show(out, task, study)
    above = heading(first["task"], *seeds)
    return shown._replace(table=f"{above}\n\n{shown.table}", whole=f"{above}\n\n{shown.whole}")


def _alike_directories(directories: Sequence[Path]) -> list[dict[str, Path]]:
    """Label -> directory of the run itself or of each of a comparison's, for each of several."""
    if len(directories) < 2:
        raise OptionError("--join: one directory alone is whole; name two or more, of other seeds")
    found = [_runs(directory) for directory in directories]
    alone = [(directory / "config.json").exists() for directory in directories]
    if len(set(alone)) > 1:
        raise OptionError(f"--join: {directories[alone.index(True)]} is one run, and another a comparison; join alike")
    if all(alone) and len({*found[0]}.union(*found)) > 1:
        raise OptionError(
            f"--join: {', '.join(label for runs in found for label in runs)} are not the same run; name directories of "
            "other seeds of one"
        )
    return found


def _runs(directory: Path) -> dict[str, Path]:
    try:
        records = {run: results.read_config(run) for run in results.run_directories(directory)}
        if not records or not all(set(record) >= NEEDED for record in records.values()):
            raise ValueError
    except Damaged as error:
        raise OptionError(f"--join: {error}") from None
    except UNREADABLE:
        raise results.not_of_runs("--join", directory) from None
    return {record["label"]: run for run, record in records.items()}


def _listed(directories: Sequence[Path], found: Sequence[Mapping[str, Path]]) -> tuple[str | None, list[str]]:
    """The study that all are of, if any, and the labels in its order, also of runs that none of them has yet."""
    if (directories[0] / "config.json").exists():
        return None, list(found[0])
    lists = [results.read_comparison(directory) for directory in directories]
    same = all(listed.get(key) == lists[0].get(key) for listed in lists for key in ("study", "runs"))
    labels = dict.fromkeys([*(lists[0]["runs"] if same else []), *(label for runs in found for label in runs)])
    return lists[0].get("study") if same else None, list(labels)


def _alike(places: Sequence[Path]) -> dict[str, Any]:
    """The first of the records, all of which are whole and say the same of everything but their seeds."""
    records = [_whole(place) for place in places]
    seeds: dict[int, Path] = {}
    for place, record in zip(places, records, strict=True):
        other = {key for key in {**records[0], **record} if record.get(key) != records[0].get(key)} - OWN
        if other:
            differ = results.differences(record, records[0], other)
            raise OptionError(f"--join: {place} differs from {places[0]} in {differ}")
        for seed in record["seeds"]:
            if seed in seeds:
                raise OptionError(f"--join: seed {seed} is in {seeds[seed]} and in {place}; it may be once")
            seeds[seed] = place
    made = [environment for record in records for environment in seeds_joined.environments(record)]
    apart = [key for key in TELLING if any(one.get(key) != made[0].get(key) for one in made)]
    apart += ["physics"] * any(record.get("physics") != records[0].get("physics") for record in records)
    if apart:
        print(f"{records[0]['label']}: not all seeds were made with the same {', '.join(apart)}", file=sys.stderr)
    return records[0]


def _whole(place: Path) -> dict[str, Any]:
    """The record of a run that ended, whose files are those recorded, with metrics of all its seeds to the end."""
    record = results.read_config(place)
    if record["interrupted"]:
        raise OptionError(f"--join: {place} was interrupted; let it go on to its end")
    try:
        say_missing(place, record)
        results.load_run(place)
        results.load_training(place)
    except OptionError as error:
        raise OptionError(f"--join: {error}") from None
    return record


def _say_what_is_missing(
    directories: Sequence[Path], found: Sequence[Mapping[str, Path]], labels: Sequence[str]
) -> None:
    for label in labels:
        without = [str(directory) for directory, runs in zip(directories, found, strict=True) if label not in runs]
        if without:
            print(f"{label}: is not in {', '.join(without)}", file=sys.stderr)
