"""What a task is. Axes: S seeds, B batch, O observation, A action, n dataset size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from core.options import Options
from core.rng import Rng
from core.types import TaskSpec, Transitions
from tasks import describing
from tasks.d4rl_reader import QLearning
from tasks.kinds import Kind
from tasks.transforms import TransformConfig

#: observations `[S, B, O]` and randomness -> actions `[S, B, A]`
Act = Callable[[Tensor, Rng], Tensor]


@dataclass(frozen=True)
class Evaluation:
    """What a policy did: for each seed its metrics (arrays `[S]`), and arrays a figure may want (`[S, ...]`)."""

    metrics: dict[str, np.ndarray]
    samples: dict[str, np.ndarray] = field(default_factory=dict)


class Task(ABC):
    spec: TaskSpec
    #: whether its data say which action was taken next
    has_next_actions: ClassVar[bool] = False
    #: whether every episode is one step, so that no next value is ever asked for
    one_step: ClassVar[bool] = False
    #: whether rewards and observations can be transformed before learning
    has_transforms: ClassVar[bool] = False
    #: whether what is asked of it makes other data, and not transforms of the same alone
    data_by_options: ClassVar[bool] = False
    #: what may be asked of it, as `--task.OPTION`
    options: ClassVar[type[Options]] = TransformConfig
    #: whether Q is known, so that it need not be learned
    has_true_q: ClassVar[bool] = False
    #: of an evaluation, for each seed; None where there are none
    episodes: ClassVar[int | None] = None
    #: options this task starts from, as on the command line without dashes: {"policy.T": 50, "backup": ...}
    defaults: ClassVar[dict[str, Any]] = {}
    #: names of the figures in `ablations.figures` that show runs of it
    figures: ClassVar[tuple[str, ...]] = ("curves",)
    #: metric -> what it means; the first ones are the headline
    metrics: ClassVar[dict[str, str]] = {}

    @property
    def kind(self) -> Kind | None:
        """What it is, where that is known; may look for its data, which can describe it."""
        return None

    @property
    def published(self) -> str | None:
        """The published dataset that it is, by name; None where it is none."""
        return None

    @property
    def made_after(self) -> str | None:
        """The published dataset that it is, or whose recipe its data follow."""
        return self.published

    def under(self, transforms: Any, episodes: int | None = None) -> Task:
        """This task as asked by its `options`, evaluated over so many episodes.

        `has_transforms` and `episodes` say whether there is a choice.
        """
        return self

    def true_q(self, obs: Tensor, act: Tensor) -> Tensor:
        """Q of the behaviour's law, exactly, differentiable: `[n, O]`, `[n, A]` -> `[n]`. Only where `has_true_q`."""
        raise NotImplementedError

    #: whether actions beyond the box are acted at its edge
    clips: ClassVar[bool] = False

    def shown(self, obs: Tensor) -> Tensor:
        """Observations `[..., O]` of the environment, as policies are shown them."""
        return obs

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre and half width `[A]` of the environment's actions, which policies see as [-1, 1]."""
        return np.zeros(self.spec.act_dim), np.ones(self.spec.act_dim)

    @property
    def physics(self) -> dict[str, str]:
        """The simulator of evaluation, where there is one: packages with versions, environment."""
        return {}

    @abstractmethod
    def dataset(self) -> Transitions:
        """The data, `[n, ...]`, the same for all seeds."""

    def held_out(self) -> Any:
        """Transitions for evaluation that are not trained on (`tasks.own.held_out.HeldOut`); None: none are."""
        return None

    def prepare_for(self, asked: Iterable[Options]) -> None:
        """As `prepare`, for the task under each of these options."""
        if not self.data_by_options:
            self.prepare()
        for options in asked:
            # what they cannot be applied to is said before the first run is trained
            task = self.under(options)
            (task.prepare if self.data_by_options else task.dataset)()

    def prepare(self) -> None:
        """Make sure of all that training and evaluation need. Raises `OptionError` for what is missing."""
        self.dataset()

    def data(self) -> QLearning:
        """The transitions as arrays, before any transform."""
        found = self.dataset()
        obs, act, reward, next_obs, discount = (
            getattr(found, name).cpu().numpy() for name in ("obs", "act", "reward", "next_obs", "discount")
        )
        return QLearning(obs, act, reward, next_obs, discount == 0)

    def described(self) -> str:
        """What it learns from, in a block of lines."""
        return describing.block(self.spec.name, self.data(), self.one_step)

    @abstractmethod
    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        """Evaluate S = `seeds` policies."""

    def conclude(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        """As `evaluate`, at the end of training: measures too expensive for every evaluation are added."""
        return self.evaluate(act, rng, seeds)

    @classmethod
    def default_budget(cls, names: Mapping[str, str]) -> dict[str, Any]:
        """Budget options (`steps`, ...) for a run whose parts have these names."""
        return {}

    def reference(self) -> Evaluation:
        """What fresh draws of the behaviour itself score, where the task knows it."""
        return Evaluation({})
