"""An offline-RL task: recorded transitions to learn from, a simulator to be evaluated in.

Axes: S seeds, E episodes, O observation, A action, n transitions.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.options import OptionError
from core.rng import Rng
from core.types import TaskSpec, Transitions
from tasks.base import Act, Evaluation, Task
from tasks.d4rl_names import normalise
from tasks.d4rl_reader import QLearning
from tasks.fleet import Fleet, Workers, launch
from tasks.kinds import Kind
from tasks.rollout import rollout
from tasks.simulators import Simulator, packages_for
from tasks.transforms import OBSERVATIONS, Affine, TransformConfig, transformed

#: as every paper of the methods here takes on these tasks
DISCOUNT = 0.99
#: of an evaluation, as the papers take on D4RL's locomotion
EPISODES = 10


@dataclass(frozen=True)
class Recipe:
    """All that differs between two offline tasks."""

    name: str
    obs_dim: int
    act_dim: int
    limit: int
    #: returns of a random policy (score 0) and of an expert (score 100); None: the score is the percentage solved
    reference: tuple[float, float] | None
    #: finds the data, or fetches or makes them, and reads them
    load: Callable[[], QLearning]
    #: None where the maintained simulators have no environment with these observations
    simulator: Simulator | None
    #: what the data were recorded with, in words, where known before the file is read
    recorded_with: str = ""
    #: physics that the data file itself names (as `Simulator.physics`), asked where the file is here already
    stamped: Callable[[], Mapping[str, str]] | None = None
    #: whether the data say which action was taken next
    next_actions: bool = False
    reward: str = "raw"
    observation: str = "raw"
    episodes: int = EPISODES
    discount: float = DISCOUNT
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: what the task is, where known
    kind: Kind | None = None
    #: the published dataset that it is, and that whose recipe its data follow
    published: str | None = None
    made_after: str | None = None
    #: said before training, a line each
    notes: tuple[str, ...] = ()
    #: bounds of the data's actions `[A]`, which policies see as [-1, 1]; None where the data have that box already
    box: tuple[np.ndarray, np.ndarray] | None = None


class OfflineTask(Task):
    recipe: Recipe
    has_transforms = True
    clips = True
    metrics = {
        "score": "normalised return: 0 is a random policy, 100 an expert; without references the share done, in %",
        "return": "mean undiscounted return of an episode",
        "length": "mean steps of an episode",
        "success": "share of episodes that are solved, or of an episode's tasks, where the environment reports it",
    }

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.has_next_actions = recipe.next_actions  # type: ignore[misc]
        self.spec = TaskSpec(recipe.name, recipe.obs_dim, recipe.act_dim)
        self._begin(recipe.episodes, {"task.discount": recipe.discount, **recipe.defaults})

    def _begin(self, episodes: int, defaults: Mapping[str, Any]) -> None:
        # read by the class in other tasks, here different for each name
        self.episodes = episodes  # type: ignore[misc]
        self.defaults = {"selection": "softmax-q", **defaults}  # type: ignore[misc]
        self._data: QLearning | None = None
        self._affine: Affine | None = None
        self._fleets: dict[int, Fleet | Workers] = {}
        self._warned = False
        self._solvable: bool | None = None
        self._box: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def kind(self) -> Kind | None:
        return self.recipe.kind

    @property
    def published(self) -> str | None:
        return self.recipe.published

    @property
    def made_after(self) -> str | None:
        return self.recipe.made_after or self.recipe.published

    def under(self, transforms: TransformConfig, episodes: int | None = None) -> OfflineTask:
        """Of the same data, and evaluated in the same simulators."""
        asked = {**dataclasses.asdict(transforms), "episodes": episodes}
        said = {
            name: value for name, value in asked.items() if value is not None and value != getattr(self.recipe, name)
        }
        if not said:
            return self
        self.data()
        other = copy.copy(self)
        other.recipe, other._affine = dataclasses.replace(self.recipe, **said), None
        return other

    @property
    def physics(self) -> dict[str, str]:
        """The simulator of evaluation: packages with versions, environment; to stamp on every result."""
        return self.recipe.simulator.physics() if self.recipe.simulator else {}

    def data(self) -> QLearning:
        """The transitions as the file has them, before any transform."""
        if self._data is None:
            self._data = self.recipe.load()
        return self._data

    def training(self) -> QLearning:
        """Of the data what is learned from."""
        return self.data()

    def affine(self) -> Affine:
        """What is done to observations."""
        if self._affine is None:
            self._affine = OBSERVATIONS[self.recipe.observation](self.training())
        return self._affine

    def dataset(self) -> Transitions:
        """Transitions `[n, ...]`, float32, rewards and observations transformed as the recipe says."""
        data, affine = self.training(), self.affine()
        return Transitions(
            _tensor(affine(data.observations)),
            _tensor(np.clip(data.actions, -1, 1)),
            _tensor(transformed(self.recipe.reward, data)),
            _tensor(affine(data.next_observations)),
            _tensor(self.recipe.discount * ~data.terminals),
            None if data.next_actions is None else _tensor(np.clip(data.next_actions, -1, 1)),
        )

    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        """Scores of S = `seeds` policies over the recipe's episodes each."""
        simulator = self.require_simulator()
        self._warn_once(simulator)
        count = seeds * self.recipe.episodes
        if count not in self._fleets:
            self._fleets[count] = launch(simulator, count)

        def shown(obs: Tensor, rng: Rng) -> Tensor:
            return act(self.shown(obs), rng)

        result = rollout(self._fleets[count], shown, rng, seeds, self.recipe.episodes)
        reference = self.recipe.reference
        done = np.nan_to_num(result.success) if self._reports_success() else None
        # without a reference and without a report of success there is no score: the return is what leads
        scored = {} if done is None else {"score": 100.0 * done}
        if reference:
            scored = {"score": normalise(reference, result.returns)}
        per_episode = {**scored, "return": result.returns, "length": result.lengths}
        if done is not None:
            per_episode["success"] = done
        means = {name: array.mean(1) for name, array in per_episode.items()}
        samples = {"scores": scored["score"]} if scored else {"returns": result.returns}
        return Evaluation(means, {**samples, "lengths": result.lengths})

    def _reports_success(self) -> bool:
        if self._solvable is None:
            self._solvable = self.require_simulator().reports_success()
        return self._solvable

    def shown(self, obs: Tensor) -> Tensor:
        if self.recipe.observation == "raw":
            return obs
        affine = self.affine()
        return (obs - torch.as_tensor(affine.mean).to(obs)) / torch.as_tensor(affine.scale).to(obs)

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        if self.recipe.box is not None:
            low, high = (np.asarray(bound, np.float64) for bound in self.recipe.box)
            return (high + low) / 2, (high - low) / 2
        if self._box is None:
            running = self.recipe.simulator.start() if self.recipe.simulator else None
            self._box = (running.centre, running.half) if running else super().box()
            if running:
                running.close()
        return self._box

    def prepare(self) -> None:
        # the simulator first: what is missing is said before anything is downloaded or made
        solvable = self._reports_success()
        for note in self._notes(solvable):
            print(f"{self.recipe.name}: {note}", file=sys.stderr)
        with packages_for(self.recipe.name):
            super().prepare()

    def _notes(self, solvable: bool) -> Iterator[str]:
        """What a reader of the results has to know about how they are made, a line each."""
        yield from self.recipe.notes
        rules = self.require_simulator().rules
        if rules:
            yield f"evaluated with {rules.words}"
        if not solvable and self.recipe.reference is None:
            yield (
                "no score: there are no reference returns for this environment, and it does not report success; "
                "the return is shown"
            )

    def require_simulator(self) -> Simulator:
        if self.recipe.simulator is None:
            raise OptionError(
                f"{self.recipe.name}: no maintained simulator has its {self.recipe.obs_dim} observations; "
                "scripts/install_d4rl.sh installs the one it was recorded in, for --backend d4rl"
            )
        return self.recipe.simulator

    def _warn_once(self, simulator: Simulator) -> None:
        if self._warned:
            return
        self._warned = True
        stamp = dict(self.recipe.stamped()) if self.recipe.stamped else {}
        then, here = self.recipe.recorded_with or _in_words(stamp), _in_words(simulator.physics())
        if then and then != here:
            against = "the papers" if self.recipe.recorded_with else "the policies that made the data"
            warnings.warn(
                f"{self.recipe.name}: recorded with {then}, evaluated with {here}; "
                f"scores may differ a little from those of {against}",
                stacklevel=3,
            )


def _in_words(physics: Mapping[str, str]) -> str:
    """`mujoco 3.3.7, gymnasium 1.2.0 in Hopper-v4`; nothing for nothing."""
    packages = ", ".join(f"{name} {number}" for name, number in physics.items() if name != "environment")
    return f"{packages} in {physics.get('environment', 'an unnamed environment')}" if physics else ""


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))
