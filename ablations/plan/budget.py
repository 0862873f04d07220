"""How long a run is and how often it is looked at: as asked, else as the paper of its preset did, else as its task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from core.options import OptionError, Options, dashed, option
from tasks import make_task
from tasks.protocol import Row
from trainers import REGULARIZERS
from trainers.annealing import ANNEALINGS


@dataclass(frozen=True)
class Budget(Options):
    """How long to train and how often to look."""

    steps: int = option(5000, "training steps", at_least=1)
    eval_every: int | None = option(None, "steps between evaluations (default: one, at the end)", at_least=1)
    eval_episodes: int | None = option(None, "episodes of an evaluation, for each seed", at_least=1)
    lr_decay: str = option(
        "none", "how all learning rates fall over the run; alone: cosine", choices=tuple(ANNEALINGS), bare="cosine"
    )
    early_stop: bool = option(False, "stop a seed at the first evaluation at which its BC loss has risen")

    def as_long_as(self, other: Budget) -> Budget:
        """This one, with the steps of `other` and looked at as often."""
        return replace(self, steps=other.steps, eval_every=other.eval_every)


def published(request: Request) -> Row | None:
    """What the paper of the preset set for the dataset, where it is a published one."""
    dataset = make_task(request.task, request.backend).published
    return PRESETS[request.preset].protocol.get(dataset) if request.preset and dataset else None


def default_budget(request: Request, names: Mapping[str, str]) -> dict[str, Any]:
    """Steps and how often to look where the command does not say: the task's, or what the paper of the preset took."""
    row = published(request)
    of_paper: dict[str, Any] = {}
    if row:
        of_paper = {"steps": row.steps, "eval_every": row.eval_every}
        # the release's commands say --lr_decay throughout
        of_paper |= {"lr_decay": "as-released"} if request.as_released else {}
    elif request.preset and request.as_released:
        of_paper = dict(PRESETS[request.preset].released_budget)
    task = make_task(request.task, request.backend)
    return {"eval_episodes": task.episodes, **task.default_budget(names), **of_paper}


def make_budget(request: Request, names: Mapping[str, str]) -> Budget:
    """The run's budget. Raises `OptionError` where it cannot be."""
    try:
        budget = Budget(**{**default_budget(request, names), **request.budget})
    except OptionError as error:
        raise OptionError(f"--{dashed(error)}") from None
    if budget.eval_episodes is not None and make_task(request.task, request.backend).episodes is None:
        raise OptionError(
            f"--eval-episodes: {request.task} has no episodes, it is evaluated on fresh samples; leave it out"
        )
    if budget.early_stop and not REGULARIZERS[names["regularizer"]].trains:
        raise OptionError(f"--early-stop goes by a BC loss, and --regularizer {names['regularizer']} has none")
    return budget
