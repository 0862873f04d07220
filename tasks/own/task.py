"""Tasks whose data may come without a simulator: `file:PATH` and `minari:ID`.

Policies are then judged by episodes that are kept apart from training (tasks/own/held_out.py). Where the data or the
user name an environment, they are evaluated in it too.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.options import OptionError, option
from core.rng import Rng
from tasks import describing, minari_data
from tasks.base import Act, Evaluation
from tasks.d4rl_reader import QLearning
from tasks.kinds import Kind
from tasks.late import LateTask
from tasks.minari_environment import LIMIT, Evaluated
from tasks.offline import Recipe
from tasks.own import env
from tasks.own.assembling import Steps, joined, steps_of
from tasks.own.bounds import Box, box_of
from tasks.own.formats import paths_of, tables
from tasks.own.held_out import MEANINGS, HeldOut
from tasks.own.keys import read_keys
from tasks.own.split import Split, rows_of, split
from tasks.simulators import packages_for
from tasks.transforms import TransformConfig
from tasks.validation import BadFile, checked, first_rows, of_size, scaled_actions

FILE = "file:"
#: of episodes, kept apart where there is no simulator
HELD_OUT = 0.1


@dataclass(frozen=True)
class DataConfig(TransformConfig):
    env: str | None = option(
        None, "evaluate in this environment: a registered id, my_module:make_env, or none (default: as the data say)"
    )
    held_out: float | None = option(
        None,
        "share of episodes kept apart from training, to judge by (default: 0.1 without a simulator, else 0)",
        at_least=0,
        at_most=0.9,
    )


@dataclass(frozen=True)
class FileConfig(DataConfig):
    keys: str | None = option(
        None,
        "columns by field, observations=obs,actions=act; a+b joins, x_* is all such, rewards=none: there are none",
    )
    bounds: str | None = option(
        None,
        "of actions: LOW:HIGH of all columns (--task.bounds=-2:2), a pair for each, or data "
        "(default: the simulator's, else -1:1 where they lie in it, else from the data)",
    )


class DataTask(LateTask):
    """Data to learn from; a simulator or not. `under` gives the same of other options."""

    options = DataConfig
    data_by_options = True
    metrics = {**LateTask.metrics, **MEANINGS}

    def __init__(self, name: str, make: Callable[[Any], Recipe], asked: DataConfig | None = None):
        """`make`: the recipe under options."""
        self.name, self._make = name, make
        self.asked = type(self).options() if asked is None else asked
        super().__init__(lambda: make(self.asked))
        self._family: dict[DataConfig, DataTask] = {}
        self._forget()

    def _forget(self) -> None:
        self._affine = None
        self._split: Split | None = None
        self._held: HeldOut | None = None

    def under(self, transforms: TransformConfig, episodes: int | None = None) -> DataTask:
        """What is asked; data and simulators are shared by all that differ in how they are used alone."""
        assert isinstance(transforms, DataConfig)
        used = dict.fromkeys([*(field.name for field in dataclasses.fields(TransformConfig)), "held_out"])
        source = dataclasses.replace(transforms, **used)
        if source not in self._family:
            self._family[source] = self if source == self.asked else type(self)(self.name, self._make, source)
        other = copy.copy(self._family[source])
        other.asked = transforms
        asked = {field.name: getattr(transforms, field.name) for field in dataclasses.fields(TransformConfig)}
        said = {name: value for name, value in {**asked, "episodes": episodes}.items() if value is not None}
        other.recipe = dataclasses.replace(self._family[source].recipe, **said)
        other._data = self._family[source].data()
        other._forget()
        return other

    @property
    def kind(self) -> Kind | None:
        return None if self.name.startswith(FILE) else super().kind

    @property
    def held_out_share(self) -> float:
        """Of the episodes."""
        if self.asked.held_out is not None:
            return self.asked.held_out
        return 0.0 if self.recipe.simulator else HELD_OUT

    def split(self) -> Split:
        """Which rows are learned from."""
        if self._split is None:
            self._split = split(self.data(), self.held_out_share)
        return self._split

    def training(self) -> QLearning:
        return rows_of(self.data(), self.split().training)

    def held_out(self) -> HeldOut | None:
        if self._held is None and len(self.split().apart):
            self._held = HeldOut.of(rows_of(self.data(), self.split().apart), self.affine(), self.training())
        return self._held

    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        return self._evaluated(act, rng, seeds, last=False)

    def conclude(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        return self._evaluated(act, rng, seeds, last=True)

    def _evaluated(self, act: Act, rng: Rng, seeds: int, last: bool) -> Evaluation:
        """In the simulator where there is one, and on what is held out where something is."""
        found = super().evaluate(act, rng, seeds) if self.recipe.simulator else Evaluation({})
        held = self.held_out()
        return Evaluation({**found.metrics, **(held.measured(act, rng, seeds, last) if held else {})}, found.samples)

    def described(self) -> str:
        return describing.block(self.spec.name, self.data(), more={"held out": self.split().words})

    def prepare(self) -> None:
        """Data and simulator, each checked against the other. Raises `OptionError`."""
        if self.recipe.simulator is not None:
            super().prepare()
            return
        with packages_for(self.recipe.name):
            self.dataset()
        if self.held_out() is None:
            raise OptionError(
                f"{self.name}: there is no simulator and nothing is held out, so nothing judges a policy; "
                "use --task.held-out 0.1, or name an environment with --task.env"
            )
        for note in (
            *self.recipe.notes,
            f"no simulator: judged on held-out data, {self.split().words} (docs/own-data.md)",
        ):
            print(f"{self.recipe.name}: {note}", file=sys.stderr)

    @property
    def physics(self) -> dict[str, str]:
        """The simulator, and of what is held out which data it is."""
        return {**super().physics, **({"data": digest(self.data())} if self.held_out_share else {})}


def digest(data: QLearning) -> str:
    """SHA-256 of the transitions, the same for all forms of a file."""
    made = hashlib.sha256()
    for name in ("observations", "actions", "rewards", "next_observations", "terminals"):
        made.update(np.ascontiguousarray(getattr(data, name)).tobytes())
    return f"sha256 {made.hexdigest()}"


class OwnTask(DataTask):
    """`file:PATH`."""

    options = FileConfig


def own_task(name: str) -> OwnTask | None:
    """The task of this name; None where it is none. Nothing is opened before its data are asked for."""
    place = name.removeprefix(FILE)
    if not name.startswith(FILE) or not place:
        return None
    return OwnTask(name, functools.partial(recipe, name, place))


def minari_task(name: str) -> DataTask:
    """`minari:ID`."""
    return DataTask(name, lambda asked: minari_data.recipe(name, asked.env))


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
