"""The four-mode bandit of Diffusion-QL (arXiv 2208.06193, section 4), whose density is known.

10,000 actions in [-1, 1]^2, a quarter around each of (+-0.8, +-0.8) with deviation 0.05, clipped to the box.
The observation is two zeros, as released. Reward is normal with deviation 0.5 around the mode's mean.
A bandit is a one-step task: the discount of every transition is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from scipy.spatial import distance
from torch import Tensor

from core.rng import Rng
from core.types import TaskSpec, Transitions
from tasks.base import Act, Evaluation, Task

MODES = {
    "upper_left": ((-0.8, 0.8), 3.0),
    "lower_left": ((-0.8, -0.8), 0.0),
    "upper_right": ((0.8, 0.8), 1.5),
    "lower_right": ((0.8, -0.8), 5.0),
}
CENTRES = torch.tensor([centre for centre, _ in MODES.values()], dtype=torch.float64)
REWARDS = torch.tensor([reward for _, reward in MODES.values()], dtype=torch.float64)
BEST = max(MODES, key=lambda name: MODES[name][1])
STD = 0.05
REWARD_STD = 0.5
#: an action within this distance of a centre (4 deviations) is on that mode
RADIUS = 4 * STD
#: a mode with this share of the samples, half of its own, counts as covered
COVERED = 1 / (2 * len(MODES))
DATA_SEED, REFERENCE_SEED = 2022, 2023
EVALUATION_SAMPLES = 4000
#: of which this many are kept for the figure; evenly spaced, since fresh data come mode by mode
KEPT_SAMPLES = 1000


class Bandit(Task):
    spec = TaskSpec("bandit", obs_dim=2, act_dim=2)
    one_step = True
    has_true_q = True
    figures = ("samples",)
    defaults = {
        "network.hidden": 128,
        "trainer.batch": 100,
        "improvement.eta": 2.5,
        "policy.T": 50,
        "policy.time_dim": 4,
        "policy.bound": "none",
    }
    metrics = {
        "energy_distance": "to fresh data; 0 is equal",
        "on_mode": "share of samples within 4 deviations of a mode",
        "modes_covered": "modes that get at least half of a quarter of the samples",
        "best_mode": "share of samples on the mode with the highest reward",
        "other_modes": "share of samples on the three others",
        "out_of_bounds": "share of samples outside [-1, 1]",
        "reward": "expected reward of a sample",
        **{f"share_{name}": f"share of samples on the {name.replace('_', ' ')} mode" for name in MODES},
    }

    @classmethod
    def default_budget(cls, names: Mapping[str, str]) -> dict[str, Any]:
        """A minute or two on two cores; the paper's budget is 100,000 steps."""
        return {"steps": 20_000 if names["improvement"] == "none" else 1600}

    def dataset(self, size: int = 10_000) -> Transitions:
        actions, modes, generator = draw(size, DATA_SEED)
        noise = [torch.randn(size // len(MODES), 1, generator=generator) for _ in MODES]
        reward = REWARDS[modes] + REWARD_STD * torch.cat(noise)[:, 0]
        zeros = torch.zeros(size, self.spec.obs_dim)
        return Transitions(zeros, actions.float(), reward.float(), zeros, torch.zeros(size))

    def true_q(self, obs: Tensor, act: Tensor) -> Tensor:
        return expected_reward(act)

    def evaluate(self, act: Act, rng: Rng, seeds: int) -> Evaluation:
        obs = torch.zeros_like(rng.normal(EVALUATION_SAMPLES, self.spec.obs_dim))
        actions = act(obs, rng).cpu().double()
        return _evaluated(actions)

    def reference(self) -> Evaluation:
        # independent draws, as a policy's are: the modes' shares vary, which a quarter each would hide
        actions, _, generator = draw(4 * EVALUATION_SAMPLES, REFERENCE_SEED + 1)
        return _evaluated(actions[torch.randperm(len(actions), generator=generator)[None, :EVALUATION_SAMPLES]])


def draw(size: int, seed: int) -> tuple[Tensor, Tensor, torch.Generator]:
    """`size` actions `[n, 2]` of the behaviour, a quarter for each mode, their modes `[n]`, and the generator.

    Drawn as the released code draws them, mode after mode in float32: with DATA_SEED they are its very points.
    """
    generator = torch.Generator().manual_seed(seed)
    each = size // len(MODES)
    std = torch.full((each, 2), STD)
    drawn = [torch.normal(centre.float().expand(each, 2), std, generator=generator) for centre in CENTRES]
    modes = torch.arange(len(MODES)).repeat_interleave(each)
    return torch.cat(drawn).clamp(-1, 1).double(), modes, generator


def _evaluated(actions: Tensor) -> Evaluation:
    fresh, _, _ = draw(EVALUATION_SAMPLES, REFERENCE_SEED)
    per_seed = [measure(row, fresh) for row in actions]
    metrics = {name: np.array([row[name] for row in per_seed]) for name in Bandit.metrics}
    return Evaluation(metrics, {"actions": actions[:, :: EVALUATION_SAMPLES // KEPT_SAMPLES].float().numpy()})


def measure(actions: Tensor, fresh: Tensor) -> dict[str, float]:
    """All metrics of one seed's actions `[n, 2]` against fresh data `[m, 2]`."""
    on = (torch.cdist(actions, CENTRES) <= RADIUS).double().mean(0)
    shares = dict(zip(MODES, on.tolist(), strict=True))
    return {
        "energy_distance": energy_distance(actions, fresh),
        "on_mode": sum(shares.values()),
        "modes_covered": sum(share >= COVERED for share in shares.values()),
        "best_mode": shares[BEST],
        "other_modes": sum(shares.values()) - shares[BEST],
        "out_of_bounds": (actions.abs() > 1).any(-1).double().mean().item(),
        "reward": expected_reward(actions).mean().item(),
        **{f"share_{name}": share for name, share in shares.items()},
    }


def expected_reward(actions: Tensor) -> Tensor:
    """E[r | a] under the mixture that made the data, `[n, 2] -> [n]`: almost the nearest mode's reward."""
    log_likelihood = -(torch.cdist(actions, CENTRES.to(actions)) / STD).square() / 2
    return log_likelihood.softmax(-1) @ REWARDS.to(actions)


def energy_distance(x: Tensor, y: Tensor) -> float:
    """2 E|x - y| - E|x - x'| - E|y - y'| between two samples `[n, A]`, `[m, A]` (Szekely & Rizzo 2013).

    All pairs are counted, so it is a distance between the samples themselves, never negative, and about
    E|x - x'| (1/n + 1/m) between two samples of one distribution.
    """
    return float(2 * distance.cdist(x, y).mean() - _spread(x) - _spread(y))


def _spread(x: Tensor) -> float:
    """E|x - x'| over all pairs, each with itself too."""
    return 2 * distance.pdist(x).sum() / len(x) ** 2
