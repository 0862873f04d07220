"""`bandit:NAME`: one-step tasks whose behaviour, reward and optimum are known.

Data are drawn from pi_b(a | s) with rewards of a known Q plus noise. A policy is compared with fresh data by every
measure of tasks/measures, beside what fresh data and the best single Gaussian score. Axes: S seeds, G contexts, m draws
in each, n rows, O context, A action.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.options import Options, flag_of
from core.rng import Rng
from core.types import TaskSpec, Transitions
from tasks import describing
from tasks.bandits import DATA_SEED, KEPT_SAMPLES, REFERENCE_SEED, Bandit
from tasks.base import Act, Evaluation, Task
from tasks.behaviours import BEHAVIOURS, Behaviour, BehaviourConfig
from tasks.behaviours.own import FileConfig, Recorded, read
from tasks.behaviours.rewards import REWARDS
from tasks.ground import Ground, ground_of
from tasks.scoring import MEANINGS, Scoring

PREFIX, FILE = "bandit:", "bandit:file:"


class KnownTask(Task):
    """A behaviour with a reward. `under` gives the same of other options."""

    one_step = True
    data_by_options = True
    has_true_q = True
    figures = ("samples",)
    defaults = Bandit.defaults
    metrics = MEANINGS

    def __init__(self, name: str, config: BehaviourConfig):
        self.name, self.config = name, config
        self.options = type(config)  # type: ignore[misc]

    @classmethod
    def default_budget(cls, names: Mapping[str, str]) -> dict[str, Any]:
        """As the released bandit's."""
        return Bandit.default_budget(names)

    @cached_property
    def behaviour(self) -> Behaviour:
        """pi_b."""
        return self.config.build()

    @cached_property
    def spec(self) -> TaskSpec:  # type: ignore[override]
        return TaskSpec(self.name, self.behaviour.obs_dim, self.behaviour.act_dim)

    def under(self, transforms: Options, episodes: int | None = None) -> KnownTask:
        return self if transforms == self.config else type(self)(self.name, transforms)  # type: ignore[arg-type]

    def true_q(self, obs: Tensor, act: Tensor) -> Tensor:
        return REWARDS[self.config.reward](self.behaviour, obs, act)

    def dataset(self) -> Transitions:
        generator = torch.Generator().manual_seed(DATA_SEED)
        obs, act = self._pairs(generator)
        noise = torch.randn(len(obs), generator=generator, dtype=torch.float64)
        reward = self.true_q(obs, act) + self.config.reward_noise * noise
        return Transitions(obs.float(), act.float(), reward.float(), obs.float(), torch.zeros(len(obs)))

    def _pairs(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Contexts and actions of the data, `[n, O]` and `[n, A]`."""
        obs = self.behaviour.contexts(self.config.size, generator)
        return obs, self.behaviour.sample(obs, generator)

    @cached_property
    def ground(self) -> Ground:
        """What policies are compared with."""
        return ground_of(self.behaviour, REFERENCE_SEED)

    @cached_property
    def scoring(self) -> Scoring:
        """How."""
        return Scoring(self.behaviour, self.true_q, self.ground)

    def described(self) -> str:
        changed = [
            f" {flag_of(f'task.{field.name}')} {getattr(self.config, field.name)}"
            for field in dataclasses.fields(self.config)
            if getattr(self.config, field.name) != field.default
        ]
        return describing.block(f"{self.name}{''.join(changed)}", self.data(), self.one_step)

    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        return self._evaluated(act, rng, seeds, last=False)

    def conclude(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        return self._evaluated(act, rng, seeds, last=True)

    def _evaluated(self, act: Act, rng: Rng, seeds: int, last: bool) -> Evaluation:
        # no draw: only the policy's device and precision
        like, obs = rng.normal(0), self.ground.obs.flatten(0, 1)
        actions = act(obs.to(like).expand(seeds, -1, -1), rng).cpu().double()
        per_seed = [self.scoring.of(row.view_as(self.ground.fresh), last) for row in actions]
        metrics = {name: np.array([row[name] for row in per_seed]) for name in per_seed[0]}
        return Evaluation(metrics, {"actions": _thinned(actions)})

    def reference(self) -> Evaluation:
        """Of fresh data; with what the figures show of the task: floors, ceilings, the frontier of the optimum."""
        metrics = self.scoring.of(self.ground.again, last=True)
        samples = {"actions": _thinned(self.ground.again.flatten(0, 1)[None]), **self.scoring.known()}
        return Evaluation({name: np.array([value]) for name, value in metrics.items()}, samples)


def _thinned(actions: Tensor) -> np.ndarray:
    """Some of the actions `[S, n, A]`, evenly spaced."""
    step = max(1, actions.shape[1] // KEPT_SAMPLES)
    return actions[:, ::step].float().numpy()


class FileTask(KnownTask):
    """`bandit:file:PATH`: read when first needed, not when it is named."""

    @cached_property
    def behaviour(self) -> Recorded:
        return Recorded(*read(Path(self.name.removeprefix(FILE)).expanduser()))

    def _pairs(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        assert isinstance(self.behaviour, Recorded)
        return self.behaviour.pairs(self.behaviour.training[: self.config.size])


def known_names() -> tuple[str, ...]:
    """Every name but those of files."""
    return tuple(f"{PREFIX}{name}" for name in BEHAVIOURS)


def known_task(name: str) -> KnownTask | None:
    """The task of this name, with its default options; None where there is none."""
    if name.startswith(FILE) and len(name) > len(FILE):
        return FileTask(name, FileConfig())
    config = BEHAVIOURS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    return KnownTask(name, config()) if config else None


def of_record(task: Task, options: Mapping[str, Any]) -> Task:
    """The task under options as a record has them."""
    fields = {field.name for field in dataclasses.fields(task.options)}
    return task.under(task.options(**{key: value for key, value in options.items() if key in fields}))
