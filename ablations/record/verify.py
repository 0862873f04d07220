"""`--verify DIR ...`: whether all that runs and comparisons have left is there, as recorded, and nothing else."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ablations.record import integrity, results
from core.options import OptionError
from trainers import checkpoint

#: what is drawn and written of a run's files whenever it is shown, and so bound by no record
DERIVED = ("summary.csv", "protocols.csv", "differences.csv", "*.png", "*.html")
#: what another process holds, or goes on from, beside the runs
HIDDEN = (
    ".lock",
    ".*.lock",
    ".*.progress",
    ".*.previous",
    ".*.next",
    ".*.partial",
    ".*.other",
    ".*.damaged",
    ".*-????????",
    "*.log.csv",
    "tensorboard",
    "wandb",
)


def carry_out(directories: Sequence[Path]) -> tuple[str, bool]:
    """A line for each finding and one of what was looked at; and whether all is as recorded.

    Raises `OptionError` for a directory that is neither a run nor a comparison.
    """
    found = [line for directory in directories for line in _of_directory(directory)]
    names = ", ".join(map(str, directories))
    return "\n".join([*found, f"{names}: {'not all is' if found else 'all is'} as recorded"]), not found


def _of_directory(directory: Path) -> Iterator[str]:
    if os.path.lexists(directory / "config.json"):
        yield from _of_run(directory)
    elif os.path.lexists(directory / "comparison.json") or any(directory.glob("*/config.json")):
        yield from _of_comparison(directory)
    else:
        raise results.not_of_runs("--verify", directory)


def _of_comparison(directory: Path) -> Iterator[str]:
    try:
        listed = sorted(path.parent.name for path in directory.glob("*/config.json"))
        listed = results.read_comparison(directory)["runs"]
    except FileNotFoundError:
        yield f"missing: {directory / 'comparison.json'}"
    except integrity.Damaged as error:
        yield _line("damaged", directory / "comparison.json", error)
    for name in listed:
        if (directory / name).is_dir():
            yield from _of_run(directory / name, name)
        else:
            yield f"missing: {directory / name}"
    yield from _others(directory, {"comparison.json", *listed})


def _of_run(run: Path, name: str | None = None) -> Iterator[str]:
    """`name`: what its comparison calls it."""
    try:
        record = results.read_config(run)
    except integrity.UNREADABLE as error:
        yield _line("damaged", run / "config.json", error)
        return
    if name is not None and record["label"] != name:
        yield f"foreign: {run} holds a run called {record['label']}"
    files = record.get(integrity.FILES)
    if files is None:
        yield f"unverified: {run} was recorded by an earlier version, without checksums"
        files = {path.name: None for path in run.iterdir() if path.suffix in (".csv", ".npz", ".pt")}
    whole = True
    for file, promised in files.items():
        if not (run / file).exists():
            yield f"missing: {run / file}"
            whole = False
        elif promised is not None and (not (run / file).is_file() or integrity.digest(run / file) != promised):
            yield f"damaged: {run / file}: its checksum differs"
            whole = False
    if whole:
        yield from _content(run)
    yield from _others(run, {"config.json", *files})


def _content(run: Path) -> Iterator[str]:
    """Whether what a run's files hold is what its record promises."""
    try:
        results.load_run(run)
        results.load_training(run)
        if (run / "samples.npz").exists():
            results.load_samples(run)
    except OptionError as error:
        yield f"damaged: {error}"


def _others(directory: Path, known: set[str]) -> Iterator[str]:
    for path in sorted(directory.iterdir()):
        if path.suffix in (".progress", ".previous"):
            try:
                checkpoint.read(path, sealed=True)
            except checkpoint.UNREADABLE as error:
                yield _line("damaged", path, error)
        elif path.name not in known and not any(fnmatch.fnmatch(path.name, name) for name in (*DERIVED, *HIDDEN)):
            yield f"foreign: {path}"


def _line(what: str, path: Path, error: Exception) -> str:
    why = str(error) if isinstance(error, integrity.Damaged) else "it cannot be read"
    return f"{what}: {path}: {why.removeprefix(f'{path} ')}"
