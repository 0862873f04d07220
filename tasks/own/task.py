"""Tasks whose data may come without a simulator: `file:PATH` and `minari:ID`.

Policies are then evaluated by episodes that are kept apart from training (tasks/own/held_out.py). Where the data or the
user name an environment, they are evaluated in it too.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from core.options import OptionError
from core.rng import Rng
from tasks import describing, minari_data
from tasks.base import Act, Evaluation
from tasks.d4rl_reader import QLearning
from tasks.kinds import Kind
from tasks.late import LateTask
from tasks.offline import Recipe
from tasks.own import reading
from tasks.own.config import DataConfig, FileConfig
from tasks.own.held_out import MEANINGS, HeldOut
from tasks.own.split import Split, rows_of, split
from tasks.simulators import packages_for
from tasks.transforms import TransformConfig

FILE = "file:"
#: of episodes, kept apart where there is no simulator
HELD_OUT = 0.1
#: of fitted Q evaluation, where there is no simulator
FQE_STEPS = 5000


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
        used = dict.fromkeys([*(field.name for field in dataclasses.fields(TransformConfig)), "held_out", "fqe_steps"])
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

    @property
    def fqe_steps(self) -> int:
        if self.asked.fqe_steps is not None:
            return self.asked.fqe_steps
        return 0 if self.recipe.simulator else FQE_STEPS

    def split(self) -> Split:
        """Which rows are learned from."""
        if self._split is None:
            self._split = split(self.data(), self.held_out_share)
        return self._split

    def training(self) -> QLearning:
        return rows_of(self.data(), self.split().training)

    def held_out(self) -> HeldOut | None:
        if self._held is None and len(self.split().apart):
            apart = rows_of(self.data(), self.split().apart)
            self._held = HeldOut.of(apart, self.affine(), self.training(), self.recipe.discount, self.fqe_steps)
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
                f"{self.name}: there is no simulator and nothing is held out, so no policy can be evaluated; "
                "use --task.held-out 0.1, or name an environment with --task.env"
            )
        for note in (
            *self.recipe.notes,
            f"no simulator: evaluated on held-out data, {self.split().words} (docs/own-data.md)",
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
    return OwnTask(name, functools.partial(reading.recipe, name, place))


def minari_task(name: str) -> DataTask:
    """`minari:ID`."""
    return DataTask(name, lambda asked: minari_data.recipe(name, asked.env))
