"""Evaluating by held-out transitions what only the policy and the critic can say: losses, densities, values.

Axes: S seeds, n held-out transitions, O observation, A action.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ablations.plan.config import RunConfig
from core.rng import SeedRng
from policies.base import TractablePolicy
from tasks.base import Act
from tasks.own.held_out import HeldOut
from trainers.fitted_q import Recorded, fitted_q
from trainers.trainer import Trainer

#: a density of 0 at one action would hide all others in the mean
LEAST_LOG_DENSITY = -1000.0


def measured(run: RunConfig, trainer: Trainer, held: HeldOut, act: Act, last: bool) -> dict[str, np.ndarray]:
    """By name, `[S]` each. `last`: fitted Q evaluation too, which trains a critic of its own."""
    rng = SeedRng(run.seeds, "evaluate", trainer.device)
    like = rng.normal(0)  # no draw: only device and precision
    obs, actions = (of[held.few].to(like).expand(len(run.seeds), -1, -1) for of in (held.obs, held.act))
    found = {"bc_loss": _cloning(trainer, obs, actions, rng)}
    if isinstance(trainer.acting_policy, TractablePolicy):
        found["nll"] = _negative_log_density(trainer.acting_policy, obs, actions)
    found |= _values(trainer, obs, actions, act, rng)
    if last and held.fqe_steps:
        data, returns = held.learned()
        recorded = Recorded(data, returns, held.first)
        network = run.parts.network_of("critic")
        found["fqe"] = fitted_q(act, recorded, network, run.seeds, held.fqe_steps, rng)
        found["fqe_data"] = torch.full((len(run.seeds),), held.returned)
    return {name: values.detach().cpu().double().numpy() for name, values in found.items()}


@torch.no_grad()
def _cloning(trainer: Trainer, obs: Tensor, actions: Tensor, rng: SeedRng) -> Tensor:
    return trainer.policy.bc_loss(obs, actions, rng).mean(-1)


@torch.no_grad()
def _negative_log_density(policy: TractablePolicy, obs: Tensor, actions: Tensor) -> Tensor:
    return -policy.log_prob(obs, actions).clamp(min=LEAST_LOG_DENSITY).mean(-1)


@torch.no_grad()
def _values(trainer: Trainer, obs: Tensor, actions: Tensor, act: Act, rng: SeedRng) -> dict[str, Tensor]:
    """What the learned critic thinks of the recorded actions and of the policy's, mean over heads."""
    critics = trainer.critics()
    if critics is None:
        return {}
    ours = act(obs, rng)
    return {name: critics.online(obs, one).mean((1, 2)) for name, one in (("q_data", actions), ("q_policy", ours))}
