"""Run directories: written beside and renamed into place, read back by tables and figures.

A run directory holds `config.json` (everything that went in), `metrics.csv` (tidy: one row for each seed, step
and metric), `training.csv` (losses at the evaluations), `samples.npz` and `checkpoint.pt`.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
import torch

from core.options import OptionError

PACKAGES = ("torch", "numpy", "pandas", "scipy", "seaborn")
FACTORS = ["label", "task", "policy", "regularizer", "improvement", "backup"]
VIEW = ["selection", "sampler"]


def claim(directory: Path) -> None:
    """Make sure, before training, that `directory` is free and can be made; writes nothing that stays.

    Raises `OptionError` for what is in the way, also where the system refuses.
    """
    with writable(directory):
        _claim(directory)


@contextmanager
def writable(directory: Path) -> Iterator[None]:
    """Where the system refuses something of `directory`, the `OptionError` of it."""
    try:
        yield
    except OSError as error:
        raise OptionError(f"--out {directory}: cannot be written ({error.strerror})") from None


def _claim(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise OptionError(f"--out {directory}: already exists; name a new directory")
    if directory.is_symlink() and not directory.exists():
        raise OptionError(f"--out {directory}: is a link to nothing; name a new directory")
    if directory.absolute().is_mount():
        raise OptionError(f"--out {directory}: is a file system of its own; name a new directory in it")
    parent = directory.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise OptionError(f"--out {directory}: cannot be written, {parent} is not a writable directory")
    tempfile.TemporaryDirectory(prefix=f".{directory.name}-", dir=parent).cleanup()


@contextmanager
def new_directory(directory: Path, alone: AbstractContextManager[None] | None = None) -> Iterator[Path]:
    """A fresh directory to fill, which takes the name `directory` when the block ends well, and vanishes otherwise.

    Where there is one already, its files take the place of those of their names, the record last. `alone`: entered for
    as long as that takes.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    partial.chmod(0o755)
    try:
        yield partial
        with alone or nullcontext():
            if directory.exists():
                for path in sorted(partial.iterdir(), key=lambda path: path.name == "config.json"):
                    path.replace(directory / path.name)
            else:
                partial.rename(directory)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Beside, then renamed: a file is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)


def tidy(
    record: dict[str, Any], evaluations: Iterable[tuple[int, dict[str, str], dict[str, np.ndarray]]]
) -> pd.DataFrame:
    """One row for each seed, step and metric, with the factors of the run and of the view that was evaluated.

    A seed that diverged has rows up to the step before.
    """
    known = {"label": record["label"], "task": record["task"], **record["names"]}
    factors = {factor: known[factor] for factor in FACTORS}
    ends = {one["seed"]: one["step"] for one in record.get("diverged", [])}
    rows = [
        {**factors, **view, "seed": seed, "step": step, "metric": metric, "value": v}
        for step, view, metrics in evaluations
        for metric, values in metrics.items()
        for seed, v in zip(record["seeds"], values.tolist(), strict=True)
        if step < ends.get(seed, np.inf)
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*FACTORS, *VIEW, "seed", "step", "metric", "value"])


def load_metrics(directory: Path) -> pd.DataFrame:
    """The metrics of a run directory, or of all runs directly below a comparison's; `run` names run and view.

    Seeds that diverged are left out, and the names say how many they are.
    """
    return pd.concat([load_run(run) for run in run_directories(directory)], ignore_index=True)


def load_run(run: Path) -> pd.DataFrame:
    """The metrics of one run; `run` names it and the view. Raises `OptionError` where they cannot be read."""
    try:
        return _load_run(run)
    except (OSError, ValueError, LookupError, TypeError):
        raise _unreadable(run, "metrics.csv") from None


def load_samples(run: Path) -> dict[str, np.ndarray]:
    """The arrays of one run's `samples.npz`. Raises `OptionError` where they cannot be read."""
    try:
        with np.load(run / "samples.npz") as stored:
            return dict(stored)
    except (OSError, EOFError, ValueError, LookupError, BadZipFile, zlib.error):
        raise _unreadable(run, "samples.npz") from None


def _unreadable(run: Path, file: str) -> OptionError:
    return OptionError(f"{run}: its {file} cannot be read; remove that directory and repeat")


def _load_run(run: Path) -> pd.DataFrame:
    frame = pd.read_csv(run / "metrics.csv", dtype={"value": float})
    config = read_config(run)
    keys = [(view["selection_label"], view["sampler_label"]) for view in config["views"]]
    of_view = dict(zip(keys, names_of(config), strict=True))
    frame = frame[~frame["seed"].isin([one["seed"] for one in config.get("diverged", [])])]
    rows = zip(frame["selection"], frame["sampler"], strict=True)
    return frame.assign(run=[of_view[key] for key in rows], label=config["label"])


def names_of(config: dict[str, Any]) -> list[str]:
    """What each view of a run is called beside others; where it ended early, or seeds of it did, that too."""
    label, diverged = config["label"], len(config.get("diverged", []))
    if config["interrupted"]:
        label += f" (interrupted at {config['steps_done']})"
    if diverged:
        label += f" ({diverged} of {len(config['seeds'])} seeds diverged)"
    return [label if len(config["views"]) == 1 else f"{label} {view['label']}" for view in config["views"]]


def read_config(run: Path) -> dict[str, Any]:
    """The record of the run in this directory."""
    return json.loads((run / "config.json").read_text())


def settings(record: dict[str, Any]) -> dict[str, str]:
    """What a run was made with, as flat text: parts, `part.option`, steps."""
    made = {**record["names"], **record.get("options", {}), "steps": record.get("steps")}
    return {key: str(value) for key, value in pd.json_normalize(made).iloc[0].items()}


def differences(record: dict[str, Any], other: dict[str, Any], keys: Collection[str]) -> str:
    """What a record says otherwise than another, of which `keys` differ: options by name, `a (here, not there)`."""
    here, there = settings(record), settings(other)
    named = [f"{key} ({here.get(key)}, not {value})" for key, value in there.items() if here.get(key) != value]
    return ", ".join([*named, *(key for key in keys if key not in ("names", "options", "steps"))])


def run_directories(directory: Path) -> list[Path]:
    """The run itself, or the runs of a comparison in the order they were made."""
    if (directory / "config.json").exists():
        return [directory]
    order = json.loads((directory / "comparison.json").read_text())["runs"]
    return [directory / name for name in order if (directory / name).is_dir()]


def environment() -> dict[str, Any]:
    """What the numbers may depend on besides the configuration."""
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "git": _git_revision(),
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@functools.cache
def _git_revision() -> str | None:
    """The revision of the code when first asked, with a + where the code has changes; None outside a checkout."""
    here = Path(__file__).resolve().parent.parent
    try:
        revision = _git(here, "rev-parse", "--short=12", "HEAD")
        return revision + ("+" if _git(here, "status", "--porcelain", "-uno", "--", "*.py", "*.cpp") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(checkout: Path, *arguments: str) -> str:
    call = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()


def varied(directory: Path) -> dict[str, set[Any]]:
    """The parts and options by which the runs of a comparison differ, and their values."""
    values: dict[str, set[Any]] = {}
    for config in map(read_config, run_directories(directory)):
        for option, value in config.get("varied", {}).items():
            values.setdefault(option, set()).add(value)
    return values


def swept(directory: Path) -> str | None:
    """Of the options by whose number the runs of a comparison differ, the one of most values."""
    numbers = {
        option: len(values)
        for option, values in varied(directory).items()
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    }
    return max(numbers, key=numbers.__getitem__, default=None)
