"""A critic trained by an earlier run, frozen and given to others: one Q, of which each makes what it can."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ablations.plan.config import RunConfig
from ablations.record import results
from ablations.record.integrity import FILES, Damaged, damaged, digest
from core.options import OptionError, flag_of, written
from tasks import Task
from trainers import checkpoint
from trainers.exact import use_exact
from trainers.trainer import Trainer

#: where the record of a run has the network of its critic, if it is not the shared one
CRITIC_NETWORK = "critic.network"


def shared(runs: Sequence[RunConfig]) -> list[RunConfig]:
    """The runs of a command, the critic named going to those alone that ask one, where any does."""
    if any(run.needs_critic for run in runs):
        runs = [run if run.needs_critic else dataclasses.replace(run, critic_from=None) for run in runs]
    for run in runs:
        if run.critic_from is not None:
            _check(run, run.critic_from)
    return list(runs)


def _check(run: RunConfig, critic_from: str) -> None:
    """Make sure, before training, that the critic in that directory fits. Raises `OptionError` where it does not."""
    where = f"--critic-from {critic_from}"
    if not run.needs_critic:
        raise OptionError(
            f"{where}: {run.label} asks no critic; leave it out, or choose an improvement or a selection by Q"
        )
    if run.has_exact_critic:
        raise OptionError(f"{where}: {run.label} has the exact Q already; leave out --critic-from or --critic exact")
    record = _record(Path(critic_from), where)
    if record["options"].get("critic", {}).get("source") == "exact":
        raise OptionError(f"{where}: {record['label']} had the exact Q; use --critic exact instead")
    if record["task"] != run.task:
        raise OptionError(f"{where}: was trained on {record['task']}, not on {run.task}; name a run on {run.task}")
    missing = sorted(set(run.seeds) - set(record["seeds"]))
    if missing:
        there = " ".join(map(str, record["seeds"]))
        raise OptionError(f"{where}: has no seed {', '.join(map(str, missing))}; use --seeds {there} or some of them")
    diverged = sorted(set(run.seeds) & {one["seed"] for one in record.get("diverged", [])})
    if diverged:
        raise OptionError(f"{where}: its seed {', '.join(map(str, diverged))} diverged; use --seeds without it")
    parts = ["critic", CRITIC_NETWORK, "task"] + (["backup"] if run.parts.backup.has_value else [])
    if "backup" in parts and record["names"]["backup"] != run.names["backup"]:
        raise OptionError(
            f"{where}: was trained with backup {record['names']['backup']}, and {run.label} asks V of "
            f"{run.names['backup']}; name a run with --backup {run.names['backup']}"
        )
    options = run.record()["options"]
    for part in parts:
        asked = _of(options, part)
        own = part in options or part in record["options"]
        shown = "network" if part == CRITIC_NETWORK and not own else part
        for name, stored in _of(record["options"], part).items():
            if asked.get(name) != stored:
                flag = flag_of(f"{shown}.{name}")
                remedy = "leave it out" if stored is None else f"add {flag} {written(stored)}"
                raise OptionError(f"{where}: was trained with {flag} {stored}, not {asked.get(name)}; {remedy}")


def _of(options: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    """The options of a part as recorded; the critic's network is the shared one unless it has one of its own."""
    return options.get(part, options["network"] if part == CRITIC_NETWORK else {})


def give(run: RunConfig, trainer: Trainer, task: Task) -> None:
    """Put the critic of `run.critic_from`, or the task's exact Q, if either is asked, in the trainer's place for it."""
    if run.has_exact_critic:
        use_exact(trainer, task.true_q)
    if run.critic_from is None:
        return
    seeds = results.read_config(Path(run.critic_from))["seeds"]
    checkpoint.load_frozen_critic(
        Path(run.critic_from) / "checkpoint.pt", trainer, [seeds.index(seed) for seed in run.seeds]
    )


def _record(directory: Path, where: str) -> dict[str, Any]:
    try:
        record = results.read_config(directory)
        record["label"], record["task"], set(record["seeds"]), record["names"], record["options"]
        if record.get(FILES, {}).get("checkpoint.pt") not in (None, digest(directory / "checkpoint.pt")):
            raise damaged(directory, "checkpoint.pt")
        has_critic = checkpoint.holds_critic(directory / "checkpoint.pt")
    except Damaged as error:
        raise OptionError(f"{where}: {error}") from None
    except (*checkpoint.UNREADABLE, TypeError):
        raise OptionError(f"{where}: not the directory of a run with its config.json and checkpoint.pt") from None
    if not has_critic:
        raise OptionError(f"{where}: {record['label']} trained no critic; name a run that has one, not --bc-only")
    return record
