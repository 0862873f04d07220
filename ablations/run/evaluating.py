"""Evaluating what a run has trained: each of its views by its task, and which seeds act beyond all bounds.

Axes: S seeds, B observations, A action.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from ablations.plan.config import RunConfig
from ablations.plan.views import View
from ablations.run import offline
from core import fusion
from core.rng import Rng, SeedRng, seed_generator
from policies import Policy
from tasks import Task
from tasks.base import Evaluation
from trainers.trainer import Trainer

#: actions live in [-1, 1]; a sampler that overshoots stays far below this, a network that diverged does not
FAR = 1e6


class Watched:
    """A view's way to act. Seeds whose actions are not finite, or beyond `FAR`, act with zeros, and are noted."""

    def __init__(self, view: View, policy: Policy, trainer: Trainer, seeds: int):
        self._view, self._policy, self._trainer = view, policy, trainer
        self.far = torch.zeros(seeds, dtype=torch.bool, device=trainer.device)

    @torch.no_grad()
    def __call__(self, obs: Tensor, rng: Rng) -> Tensor:
        """Actions `[S, B, A]`."""
        actions = self._view.selection(self._policy, self._trainer.critics(), obs, rng)
        # not a number is not below a bound either
        far = ~(actions.abs() <= FAR).flatten(1).all(1)
        self.far |= far
        return actions.masked_fill(far[:, None, None], 0)


def evaluate(
    run: RunConfig, view: View, task: Task, trainer: Trainer, last: bool = False
) -> tuple[Evaluation, dict[int, str]]:
    """What the seeds score, and of the places of those that have no finite score the reason.

    `last`: they are trained no more, so that expensive measures are taken too.
    """
    seeds = len(run.seeds)
    act = Watched(view, resampled(run, view, task, trainer), trainer, seeds)
    # every evaluation of a run meets the same draws, so that a curve shows the policy and not the noise
    rng = SeedRng(run.seeds, "evaluate", trainer.device)
    with fusion.passes(trainer.device):
        scored = (task.conclude if last else task.evaluate)(act, rng, seeds)
        held = task.held_out()
        if held is not None:
            more = offline.measured(run, trainer, held, act, last)
            scored = dataclasses.replace(scored, metrics={**scored.metrics, **more})
    bad = {place: f"actions are not finite or beyond {FAR:g}" for place in np.flatnonzero(act.far.cpu()).tolist()}
    for name, values in scored.metrics.items():
        for place in np.flatnonzero(~np.isfinite(values)).tolist():
            bad.setdefault(place, f"{name} is not finite")
    return scored, bad


def without(scored: Evaluation, places: list[int]) -> Evaluation:
    """An evaluation in which the seeds of these places have no numbers."""
    if not places:
        return scored

    def blank(array: np.ndarray) -> np.ndarray:
        kind = array.dtype if array.dtype.kind == "f" else np.float64
        array = array.astype(kind, copy=True)
        array[places] = np.nan
        return array

    metrics, samples = ({name: blank(a) for name, a in of.items()} for of in (scored.metrics, scored.samples))
    return dataclasses.replace(scored, metrics=metrics, samples=samples)


def forwards(run: RunConfig, view: View, task: Task, trainer: Trainer) -> int:
    """Passes through the policy's network that one action of this view costs."""
    return resampled(run, view, task, trainer).forwards_per_action * getattr(view.selection, "candidates", 1)


def resampled(run: RunConfig, view: View, task: Task, trainer: Trainer) -> Policy:
    """The trained policy, or a twin with its weights and the view's sampler."""
    if view.policy is None:
        return trainer.acting_policy
    twin = view.policy.build(
        task.spec, run.parts.network_of("policy"), [seed_generator(seed, "init") for seed in run.seeds]
    )
    weights = next(trainer.policy.parameters())
    twin.to(weights.device, weights.dtype).load_state_dict(trainer.acting_policy.state_dict())
    return twin
