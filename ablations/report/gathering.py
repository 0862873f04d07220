"""Runs chosen from directories that are there, as one comparison, to be drawn or tabulated anew.

What is written is a copy for the time of reading: records under the names that were asked for, with the metrics that
were. Directories may come from several machines. They must be of one task.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ablations.record import results
from ablations.record.integrity import FILES, UNREADABLE, bound, write_json
from core.options import OptionError, unknown_name

#: of a run what figures read besides its metrics
READ = ("training.csv", "samples.npz")


def found(command: str, directories: Sequence[Path]) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Label -> directory and record of each run; a label that several directories have is led by the directory's name.

    Raises `OptionError` for what is no run or comparison, and for runs of several tasks.
    """
    runs = [(directory, *one) for directory in directories for one in _runs(command, directory)]
    tasks = dict.fromkeys(record["task"] for _, _, record in runs)
    if len(tasks) > 1:
        raise OptionError(f"{command}: runs of {', '.join(tasks)}; name directories of one task, or use --aggregate")
    labels = [record["label"] for *_, record in runs]
    named: dict[str, tuple[Path, dict[str, Any]]] = {}
    for directory, run, record in runs:
        label = record["label"]
        name = label if labels.count(label) == 1 else f"{directory.resolve().name} {label}"
        if name in named:
            raise OptionError(f"{command}: {name} is named more than once; name each directory once")
        named[name] = (run, record)
    return named


def _runs(command: str, directory: Path) -> list[tuple[Path, dict[str, Any]]]:
    try:
        runs = [(run, results.read_config(run)) for run in results.run_directories(directory)]
    except OptionError as error:
        raise OptionError(f"{command}: {error}") from None
    except UNREADABLE:
        runs = []
    if not runs:
        raise results.not_of_runs(command, directory)
    return runs


@contextmanager
def gathered(
    command: str, directories: Sequence[Path], names: Mapping[str, str], metrics: Sequence[str] = ()
) -> Iterator[Path]:
    """A comparison of the runs in `names` (label -> what it is to be called; empty: all), in their order.

    `metrics`: those alone; empty: all. Raises `OptionError` for a run or a metric that is not there.
    """
    runs = found(command, directories)
    chosen = dict(names) or {label: label for label in runs}
    for label in chosen:
        if label not in runs:
            raise OptionError(f"--runs: {unknown_name(label, runs)}")
    if len(set(chosen.values())) < len(chosen):
        raise OptionError("--runs: two runs are given one name; name each otherwise")
    with tempfile.TemporaryDirectory(prefix="policy-ablation-") as place:
        known: set[str] = set()
        for index, (label, name) in enumerate(chosen.items()):
            known |= _copy(*runs[label], name, metrics, Path(place) / str(index))
        for metric in metrics:
            if metric not in known:
                raise OptionError(f"--metrics: {unknown_name(metric, sorted(known))}")
        order = [str(index) for index in range(len(chosen))]
        write_json(Path(place) / "comparison.json", {"study": _study(directories), "runs": order})
        yield Path(place)


def _copy(run: Path, record: Mapping[str, Any], name: str, metrics: Sequence[str], place: Path) -> set[str]:
    """Write one run under another name, with these metrics alone; returns which it has."""
    place.mkdir()
    rows = results.load_run(run)
    known = set(rows["metric"])
    if metrics:
        rows = rows[rows["metric"].isin(metrics)]
    rows.assign(label=name)[results.COLUMNS].to_csv(place / "metrics.csv", index=False)
    for file in READ:
        if (run / file).exists():
            shutil.copyfile(run / file, place / file)
    write_json(place / "config.json", {**record, "label": name, FILES: bound(place)})
    return known


def _study(directories: Sequence[Path]) -> str | None:
    """The study that all are of, if any."""
    studies = {
        results.read_comparison(one).get("study") if (one / "comparison.json").is_file() else None
        for one in directories
    }
    return studies.pop() if len(studies) == 1 else None
