"""A policy that was trained and acts: loaded from a run's directory, asked in the terms of its environment.

Axes: B observations, N samples, O observation, A action. Observations are as the data and the environment have them,
actions in the environment's own box.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ablations.plan.config import RunConfig
from ablations.plan.making import make
from ablations.plan.views import View
from ablations.record import results
from ablations.record.integrity import checked
from ablations.record.recipe import plan_of_records
from ablations.run import evaluating
from core.options import OptionError, unknown_name
from core.rng import SeedRng
from policies.base import TractablePolicy
from tasks import Task, make_task
from trainers import checkpoint
from trainers.exact import use_exact
from trainers.trainer import Trainer


class TrainedPolicy:
    """One seed's policy of a run, acting in one of the run's ways, with a generator of its own."""

    def __init__(self, run: RunConfig, task: Task, trainer: Trainer, view: View):
        self.run, self.task, self.view = run, task, view
        self._trainer, self._policy = trainer, evaluating.resampled(run, view, task, trainer)
        self.reseed()

    def reseed(self, seed: int | None = None) -> None:
        """Begin the generator anew, by default as the run's own evaluation did for this seed."""
        (trained,) = self.run.seeds
        self.rng = SeedRng((trained if seed is None else seed,), "evaluate", self._trainer.device)

    @torch.no_grad()
    def act(self, obs: Any) -> np.ndarray:
        """An action `[A]` for an observation `[O]`, or `[B, A]` for `[B, O]`, chosen as the run's view chooses."""
        shown, many = self._shown(obs)
        chosen = self.view.selection(self._policy, self._trainer.critics(), shown, self.rng)
        return _first(self._out(chosen[0]), many)

    @torch.no_grad()
    def sample(self, obs: Any, n: int) -> np.ndarray:
        """`n` samples of the policy for each observation, before any selection: `[N, A]`, or `[B, N, A]`."""
        shown, many = self._shown(obs)
        return _first(self._out(self._policy.sample_each(shown, n, self.rng)[0]), many)

    @torch.no_grad()
    def log_prob(self, obs: Any, act: Any) -> np.ndarray:
        """Log-density of actions, in nats, in the environment's scale: a number for `[O]`, `[A]`, else `[B]`.

        Raises `OptionError` for a class without one.
        """
        if not isinstance(self._policy, TractablePolicy):
            raise OptionError(f"{self.run.names['policy']} has no density; use --policy gaussian or another that has")
        shown, many = self._shown(obs)
        found = self._policy.log_prob(shown, self._in(act))[0].double().cpu().numpy()
        return _first(found - np.log(self.task.box()[1]).sum(), many)

    @torch.no_grad()
    def q(self, obs: Any, act: Any) -> np.ndarray:
        """The critic's smallest head at actions: a number for `[O]`, `[A]`, else `[B]`.

        Raises `OptionError` for a run without a critic.
        """
        critics = self._trainer.critics()
        if critics is None:
            raise OptionError(f"{self.run.label} has no critic: nothing in it asks one")
        shown, many = self._shown(obs)
        return _first(critics.online(shown, self._in(act))[0].min(0).values.double().cpu().numpy(), many)

    def evaluate(self) -> dict[str, float]:
        """The metrics that the run's evaluation gives this seed, measured anew with the same draws."""
        self.reseed()
        scored, _ = evaluating.evaluate(self.run, self.view, self.task, self._trainer, last=True)
        return {name: float(values[0]) for name, values in scored.metrics.items()}

    def _shown(self, obs: Any) -> tuple[Tensor, bool]:
        """Observations as the policy knows them, `[1, B, O]`, and whether there may be several."""
        given = torch.as_tensor(np.asarray(obs), dtype=self.rng.dtype, device=self._trainer.device)
        if given.ndim not in (1, 2) or given.shape[-1] != self.task.spec.obs_dim:
            raise OptionError(
                f"observations must be [{self.task.spec.obs_dim}] or [B, {self.task.spec.obs_dim}], "
                f"got {list(given.shape)}"
            )
        return self.task.shown(given.reshape(1, -1, given.shape[-1])), given.ndim == 2

    def _in(self, act: Any) -> Tensor:
        centre, half = self.task.box()
        given = (np.asarray(act, np.float64) - centre) / half
        if given.ndim not in (1, 2):
            raise OptionError(f"actions must be [{len(half)}] or [B, {len(half)}], got {list(given.shape)}")
        return torch.as_tensor(given, dtype=self.rng.dtype, device=self._trainer.device).reshape(1, -1, len(half))

    def _out(self, act: Tensor) -> np.ndarray:
        centre, half = self.task.box()
        acted = act.double().cpu().numpy()
        return centre + half * (np.clip(acted, -1, 1) if self.task.clips else acted)


def _first(array: np.ndarray, many: bool) -> np.ndarray:
    return array if many else array[0]


def load(directory: Path, seed: int, view: str | None = None, device: torch.device | str = "cpu") -> TrainedPolicy:
    """The policy of a run's `seed`, acting by `view` (a label of its record), by default the first.

    Raises `OptionError` where the directory holds no such run, seed, view or checkpoint.
    """
    record = results.read_config(directory)
    if seed not in record["seeds"]:
        raise OptionError(f"{directory}: has no seed {seed}; there are {' '.join(map(str, record['seeds']))}")
    if seed in [one["seed"] for one in record.get("diverged", [])]:
        raise OptionError(f"{directory}: its seed {seed} diverged and has no policy; choose another")
    try:
        checked(directory, "checkpoint.pt", record)
        stored = checkpoint.read(directory / "checkpoint.pt")
    except checkpoint.UNREADABLE as error:
        raise OptionError(f"{directory}/checkpoint.pt: cannot be read ({error})") from None
    (run,) = make(plan_of_records([{**record, "seeds": [seed]}])).runs
    task = make_task(run.task, run.backend).under(run.transforms, run.budget.eval_episodes)
    trainer = Trainer(run.parts, run.trainer, task.spec, run.seeds, needs_critic=run.needs_critic, device=device)
    if run.has_exact_critic:
        use_exact(trainer, task.true_q)
    checkpoint.put_replica(stored, trainer, record["seeds"].index(seed))
    views = {one.label: one for one in run.views}
    if view is not None and view not in views:
        raise OptionError(f"{directory}: {unknown_name(view, views)}")
    return TrainedPolicy(run, task, trainer, views[view] if view else run.views[0])
