"""Run directories: written beside and renamed into place, read back by tables and figures.

A run directory holds `config.json` (everything that went in), `metrics.csv` (tidy: one row for each seed, step
and metric), `training.csv` (losses at the evaluations), `samples.npz` and `checkpoint.pt`.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from ablations.record.form import problem_of_comparison, problem_of_run
from ablations.record.integrity import UNREADABLE, Damaged, checked, read_json
from core.options import OptionError

FACTORS = ["label", "task", "policy", "regularizer", "improvement", "backup"]
VIEW = ["selection", "sampler"]
#: of a table of metrics
COLUMNS = [*FACTORS, *VIEW, "seed", "step", "metric", "value"]

#: the loss that offline rules choose by, in training.csv
LOSS = "regularizer_mean"


def tidy(
    record: dict[str, Any], evaluations: Iterable[tuple[int, dict[str, str], dict[str, np.ndarray]]]
) -> pd.DataFrame:
    """One row for each seed, step and metric, with the factors of the run and of the view that was evaluated.

    Options by which the run differs from those beside it have columns of their own, the last ones. A seed that diverged
    has rows up to the step before.
    """
    known = {"label": record["label"], "task": record["task"], **record["names"]}
    factors = {factor: known[factor] for factor in FACTORS}
    varied = {option: value for option, value in record.get("varied", {}).items() if option not in factors}
    ends = {one["seed"]: one["step"] for one in record.get("diverged", [])}
    rows = [
        {**factors, **view, "seed": seed, "step": step, "metric": metric, "value": v, **varied}
        for step, view, metrics in evaluations
        for metric, values in metrics.items()
        for seed, v in zip(record["seeds"], values.tolist(), strict=True)
        if step < ends.get(seed, np.inf)
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=COLUMNS)


def load_metrics(directory: Path) -> pd.DataFrame:
    """The metrics of a run directory, or of all runs directly below a comparison's; `run` names run and view.

    Seeds that diverged are left out, and the names say how many they are.
    """
    return pd.concat([load_run(run) for run in run_directories(directory)], ignore_index=True)


def load_run(run: Path) -> pd.DataFrame:
    """The metrics of one run; `run` names it and the view.

    Raises `OptionError` where they cannot be read, are not those recorded, or are not of all its seeds, views and
    evaluations.
    """
    try:
        config = read_config(run)
        frame = pd.read_csv(io.BytesIO(checked(run, "metrics.csv", config)), dtype={"value": float})
        if not _is_complete(frame, config):
            raise ValueError
        return _named(frame, config)
    except Damaged:
        raise
    except UNREADABLE:
        raise _unreadable(run, "metrics.csv") from None


def load_training(run: Path) -> pd.DataFrame | None:
    """The losses of one run at its evaluations; None where no file of them was kept. Raises as `load_run` does."""
    config = read_config(run)
    if not (run / "training.csv").exists():
        return None
    try:
        content = checked(run, "training.csv", config)
        return pd.read_csv(io.BytesIO(content)) if content.strip() else pd.DataFrame(columns=COLUMNS)
    except Damaged:
        raise
    except UNREADABLE:
        raise _unreadable(run, "training.csv") from None


def load_samples(run: Path) -> dict[str, np.ndarray]:
    """The arrays of one run's `samples.npz`. Raises as `load_run` does."""
    try:
        with np.load(io.BytesIO(checked(run, "samples.npz", read_config(run)))) as stored:
            return dict(stored)
    except Damaged:
        raise
    except (*UNREADABLE, EOFError, BadZipFile, zlib.error, NotImplementedError, MemoryError):
        raise _unreadable(run, "samples.npz") from None


def _unreadable(run: Path, file: str) -> OptionError:
    return OptionError(f"{run}: its {file} cannot be read; remove that directory and repeat")


def _is_complete(frame: pd.DataFrame, config: dict[str, Any]) -> bool:
    """Whether rows are those of this run: of each evaluation every metric of every view, once for each seed."""
    rows, ends = frame, {one["seed"]: one["step"] for one in config.get("diverged", [])}
    if rows.empty:
        return list(rows.columns) == COLUMNS and set(ends) == set(config["seeds"])
    views = {(view["selection_label"], view["sampler_label"]) for view in config["views"]}
    known = set(zip(rows["selection"], rows["sampler"], strict=True)) == views
    # earlier versions left these out
    known &= all(set(rows[key]) == {config[key]} for key in ("label", "task") if key in rows)
    known &= set(rows["seed"]) <= set(config["seeds"])
    once = not rows[[*VIEW, "seed", "step", "metric"]].duplicated().any()
    if not (known and once) or config["interrupted"]:
        # of a run that was interrupted some seeds may have come further than others
        return bool(known and once)
    measured = rows.groupby("step")["metric"].agg(set)
    there = {
        step: len(views) * sum(step < ends.get(seed, np.inf) for seed in config["seeds"]) for step in measured.index
    }
    promised = sum(len(measured[step]) * count for step, count in there.items())
    last = measured.index[-1]
    # some metrics are of the last evaluation alone
    alike = all(one in (measured.iloc[0], measured[last]) and one <= measured[last] for one in measured)
    to_its_end = set(ends) == set(config["seeds"]) or last == config.get("steps_done", last)
    return bool(to_its_end and alike and len(rows) == promised)


def _named(frame: pd.DataFrame, config: dict[str, Any]) -> pd.DataFrame:
    """Rows with the names that tables and figures show, without those of seeds that diverged."""
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
    """The record of the run in this directory. Raises `Damaged` where it is not as written, or is no run's."""
    remedy = f"remove {run} and repeat"
    record = read_json(run / "config.json", remedy)
    problem = problem_of_run(record)
    if problem:
        raise Damaged(f"{run}/config.json is not that of a run; {remedy} (see its {problem})")
    return record


def read_comparison(directory: Path) -> dict[str, Any]:
    """The labels of a comparison's runs, and its study. Raises `Damaged` where they are not as written, or none."""
    remedy = "its runs are directories of their own, that can be read one by one"
    record = read_json(directory / "comparison.json", remedy)
    problem = problem_of_comparison(record)
    if problem:
        raise Damaged(f"{directory}/comparison.json is not that of a comparison (see its {problem}); {remedy}")
    return record


def settings(record: dict[str, Any]) -> dict[str, str]:
    """What a run was made with, as flat text: parts, `part.option`, steps."""
    options = pd.json_normalize({**record.get("options", {}), "steps": record.get("steps")}).iloc[0]
    # the name of a part and its options have one key before they are flat
    return {**record["names"], **{key: str(value) for key, value in options.items()}}


def differences(record: dict[str, Any], other: dict[str, Any], keys: Collection[str]) -> str:
    """What a record says otherwise than another, of which `keys` differ: options by name, `a (here, not there)`."""
    here, there = settings(record), settings(other)
    named = [f"{key} ({here.get(key)}, not {value})" for key, value in there.items() if here.get(key) != value]
    return ", ".join([*named, *(key for key in keys if key not in ("names", "options", "steps"))])


def run_directories(directory: Path) -> list[Path]:
    """The run itself, or the runs of a comparison in the order they were made."""
    if (directory / "config.json").exists():
        return [directory]
    order = read_comparison(directory)["runs"]
    return [directory / name for name in order if (directory / name).is_dir()]


def not_of_runs(command: str, directory: Path) -> OptionError:
    """What is said of a directory that is not one of runs, or lacks a record."""
    why = ""
    if (directory / "comparison.json").exists():
        lacking = (path for path in directory.iterdir() if path.is_dir() and not (path / "config.json").exists())
        why = "".join(f" ({path.name} has no config.json)" for path in sorted(lacking)[:1])
    return OptionError(f"{command}: {directory} is not the directory of a run or comparison{why}")


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
