"""`--dry-run`: what a command would do, with its memory and time, as text. Nothing is written."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch

from ablations.plan.config import RunConfig
from ablations.record import results
from ablations.run import probe
from tasks import make_task

#: columns of the terminal that the text is made for
WIDTH = 110


def rehearse(runs: Sequence[RunConfig], out: Path, device: torch.device) -> str:
    """The runs, what they share and what they differ in, and what each needs, by some steps of each."""
    records = {run.label: run.record() for run in runs}
    # options of a part stand in a record under its name
    settings = {label: results.settings(record) for label, record in records.items()}
    shared, differ, alone = compared(settings)
    task = make_task(runs[0].task, runs[0].backend)
    task.prepare_for({run.transforms for run in runs})
    probes = {run.label: probe.measure(run, task.under(run.transforms), device) for run in runs}
    needs = pd.DataFrame(
        {
            "steps": {run.label: f"{run.budget.steps:,}" for run in runs},
            "evaluations": {run.label: -(-run.budget.steps // _apart(run)) for run in runs},
            "memory": {label: f"{one.bytes / 2**20:.0f} MB" for label, one in probes.items()},
            "training": {label: duration(one.seconds) for label, one in probes.items()},
        }
    )
    seeds = " ".join(map(str, runs[0].seeds))
    parts = [f"{len(runs)} run{'s' * (len(runs) > 1)} on {runs[0].task}, each of seeds {seeds}\n{needs.to_string()}"]
    if len(runs) > 1:
        parts.append(f"they differ in\n{differ.to_string()}")
    parts += [f"{', '.join(labels)} alone\n{_listed(options)}" for labels, options in alone.items()]
    parts.append(f"{'they share' if len(runs) > 1 else 'its options'}\n{_listed(shared)}")
    total = duration(sum(one.seconds for one in probes.values()))
    parts.append(
        f"all training: about {total} on {device}, estimated from some steps of each run; evaluations come on top\n"
        f"results would go to {out}; nothing was trained"
    )
    return "\n\n".join(parts)


def compared(
    settings: dict[str, dict[str, str]],
) -> tuple[dict[str, str], pd.DataFrame, dict[tuple[str, ...], dict[str, str]]]:
    """What all runs have alike; what differs, an option a row and a run a column; and what some runs alone have.

    The last is by the labels of those runs: where an option has one value and the others lack it, as another part's.
    """
    shared: dict[str, str] = {}
    differ: dict[str, list[str]] = {}
    alone: dict[tuple[str, ...], dict[str, str]] = {}
    for key in dict.fromkeys(key for of_run in settings.values() for key in of_run):
        having = {label: of_run[key] for label, of_run in settings.items() if key in of_run}
        value = next(iter(having.values()))
        if len(set(having.values())) > 1:
            differ[key] = [having.get(label, "-") for label in settings]
        elif len(having) == len(settings):
            shared[key] = value
        else:
            alone.setdefault(tuple(having), {})[key] = value
    return shared, pd.DataFrame.from_dict(differ, orient="index", columns=list(settings)), alone


def _listed(options: dict[str, str]) -> str:
    told = ", ".join(f"{key}\N{NO-BREAK SPACE}{value}" for key, value in options.items())
    filled = textwrap.fill(told, WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False)
    return filled.replace("\N{NO-BREAK SPACE}", " ")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("days", 86_400.0), ("hours", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 1 else "under 1 s"


def _apart(run: RunConfig) -> int:
    return run.budget.eval_every or run.budget.steps
