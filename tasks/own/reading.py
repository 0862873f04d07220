"""The task of data at a place: files read, joined, put in their box, and set beside a simulator if one is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from core.options import OptionError
from tasks import minari_data
from tasks.minari_environment import LIMIT, Evaluated
from tasks.offline import Recipe
from tasks.own import env
from tasks.own.assembling import Steps, joined, steps_of
from tasks.own.bounds import Box, box_of
from tasks.own.config import FileConfig
from tasks.own.formats import paths_of, tables
from tasks.own.keys import read_keys
from tasks.validation import BadFile, checked, first_rows, of_size, scaled_actions


def recipe(name: str, place: str, asked: FileConfig) -> Recipe:
    """The task of data at a place, by what is asked of them. Raises `OptionError`, one line."""
    folder = _minari_folder(Path(place).expanduser())
    if folder is not None:
        for option_name in ("keys", "bounds"):
            if getattr(asked, option_name) is not None:
                raise OptionError(f"--task.{option_name}: Minari's data say it themselves; leave it out")
        return minari_data.recipe_of(name, minari_data.dataset_in(folder, asked.env), asked.env)
    parts = _read(place, read_keys(asked.keys))
    data = joined(place, parts)
    obs_dim, act_dim = data.observations.shape[1], data.actions.shape[1]
    begins = first_rows(data)
    longest = int(np.diff(np.append(begins, len(data.rewards))).max())
    evaluated = env.named(asked.env, (), longest) if asked.env else Evaluated(None, longest or LIMIT, None)
    simulator, bounds = evaluated.simulator, box_of(data.actions, asked.bounds)
    if simulator is not None:
        low, high = env.box(simulator, obs_dim, act_dim)
        if asked.bounds is None:
            bounds = Box(low, high)
        simulator = dataclasses.replace(simulator, box=(tuple(bounds.low), tuple(bounds.high)))
    actions = scaled_actions(place, "actions", data.actions, bounds.low, bounds.high)
    notes = (*data.notes, *filter(None, [bounds.note]))
    whole = checked(place, dataclasses.replace(data, actions=actions, notes=notes))
    return Recipe(
        name,
        obs_dim,
        act_dim,
        evaluated.limit,
        evaluated.reference,
        lambda: whole,
        simulator,
        notes=evaluated.notes,
        box=(bounds.low, bounds.high),
    )


def _minari_folder(path: Path) -> Path | None:
    """The folder of a Minari set that a path means, if it means one."""
    places = (path, path / "data") if path.is_dir() else ()
    return next((place for place in places if (place / minari_data.METADATA).exists()), None)


def _read(place: str, said: Mapping[str, str]) -> list[Steps]:
    """The tables of all files at a place."""
    parts: list[Steps] = []
    held = 0
    for path in paths_of(place):
        for table in tables(path, said.get("actions")):
            parts.append(steps_of(table, said))
            held += parts[-1].observations.nbytes + parts[-1].next_observations.nbytes
            # each file was compared with its size; together they have to fit the memory
            of_size(place, held, held)
    if not parts:
        raise BadFile(f"{place}: holds no table of steps")
    return parts
