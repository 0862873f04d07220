"""Everything that is measured of a policy where the behaviour is known, in plain numbers by name.

Axes: G contexts, m draws in each, n = G m rows, O context, A action, K modes, C cells of the square.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tasks.behaviours import Behaviour
from tasks.behaviours.values import HIGHEST
from tasks.ground import Ground
from tasks.measures import MEASURES, Measure, grids
from tasks.measures.distances import energy_distance
from tasks.measures.gaussian import best_gaussian
from tasks.optimum import Tilted, tilted

#: strengths at which the optimum is known, in 1 over the deviation of Q under the behaviour
STRENGTHS = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0)
#: the bound of the frontier is drawn through so many
CURVE = tuple(np.concatenate([[0.0], np.geomspace(0.03, 300, 60)]))
#: rows compared with each optimum
COMPARED = 1000
SEED = 2024
#: a share of the ceiling's distance from the floor; where there is less, nothing is scaled by it
LEAST = 0.1

MEANINGS = {
    **{name: text for measure in MEASURES for name, text in measure.meaning.items()},
    **{
        f"{name}_scaled": f"{name} as a share: 0 is fresh data, 1 the best single Gaussian"
        for measure in MEASURES
        if measure.scaled
        for name in measure.meaning
    },
    "worst_energy_distance": "of the contexts the one of most",
    "mode_coverage": "share of the modes that get at least half of their weight",
    "mode_error": "total variation between the modes' shares and their weights",
    "off_support": "share of samples where the behaviour has density 0",
    "out_of_bounds": "share of samples outside [-1, 1]",
    "kl": "KL(policy || behaviour) on cells of the square, in nats, both with 1% of the uniform",
    "kl_forward": "KL(behaviour || policy) likewise",
    "reward": "expected reward of a sample",
    "optimum_distance": "energy distance to the nearest pi*_beta",
    "optimum_strength": "its beta, times the deviation of Q under the behaviour",
}


class Scoring:
    """Scores of policies on one `Ground`, with floors and ceilings worked out once."""

    def __init__(self, behaviour: Behaviour, q: Callable[[Tensor, Tensor], Tensor], ground: Ground):
        self.behaviour, self.q, self.ground = behaviour, q, ground
        self.obs = ground.obs.flatten(0, 1)
        self.shown = ground.shown
        self._scales: dict[str, tuple[float, float]] = {}

    def of(self, act: Tensor, last: bool) -> dict[str, float]:
        """All that is measured of actions `[G, m, A]`; expensive measures only where they are the last."""
        found: dict[str, float] = {}
        for measure in MEASURES:
            if measure.expensive and not last:
                continue
            found |= self._measured(measure, act)
        found |= self._on_modes(act) | self._on_cells(act)
        rows = act.flatten(0, 1)
        if self.behaviour.has_density:
            logs = self.behaviour.log_prob(self.obs, rows)
            found["off_support"] = float(logs.isneginf().double().mean())
        found["out_of_bounds"] = float((rows.abs() > 1).any(-1).double().mean())
        found["reward"] = float(self.q(self.obs, rows).mean())
        if last and self.ground.beside is None and self.behaviour.has_density:
            found |= self._against_optimum(act)
        return found

    def _measured(self, measure: Measure, act: Tensor) -> dict[str, float]:
        each = self._each(measure, self.ground.seen(act))
        found = {name: float(np.mean(values)) for name, values in each.items()}
        if measure.scaled:
            for name in measure.meaning:
                floor, ceiling = self._scale(measure)[name]
                if ceiling - floor > LEAST * abs(ceiling):
                    found[f"{name}_scaled"] = (found[name] - floor) / (ceiling - floor)
        if "energy_distance" in each and len(act) > 1:
            found["worst_energy_distance"] = max(each["energy_distance"])
        return found

    def _each(self, measure: Measure, seen: Tensor) -> dict[str, list[float]]:
        """Of `[G, m, D]`, context by context."""
        rows = [measure(x, y) for x, y in zip(seen, self.shown, strict=True)]
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _scale(self, measure: Measure) -> dict[str, tuple[float, float]]:
        """What fresh data score and what the best single Gaussian of each context does, by name."""
        if not self._scales.keys() >= measure.meaning.keys():
            floors = self._each(measure, self.ground.seen(self.ground.again))
            ceilings = self._each(measure, self.gaussian)
            for name in measure.meaning:
                self._scales[name] = float(np.mean(floors[name])), float(np.mean(ceilings[name]))
        return self._scales

    @cached_property
    def gaussian(self) -> Tensor:
        """Draws of the best single Gaussian of each context, `[G, m, D]`."""
        generator = torch.Generator().manual_seed(SEED)
        return torch.stack([best_gaussian(data, len(data), generator) for data in self.shown])

    def _on_modes(self, act: Tensor) -> dict[str, float]:
        weights = self.behaviour.mode_weights(self.ground.obs[:, 0])
        if weights is None:
            return {}
        modes = self.behaviour.mode_of(self.obs, act.flatten(0, 1)).view(act.shape[:2])
        shares = torch.stack([(modes == k).double().mean(1) for k in range(weights.shape[1])], 1)
        there = weights > 0
        covered = ((shares >= weights / 2) & there).sum(1) / there.sum(1)
        # mass on no mode is missed by all of them
        error = (weights - shares).clamp(min=0).sum(1)
        return {"mode_coverage": float(covered.double().mean()), "mode_error": float(error.mean())}

    @cached_property
    def mass(self) -> Tensor | None:
        """The behaviour's mass in the cells of the square `[C]`; None where it has no such thing."""
        if self.behaviour.conditional or not self.behaviour.has_density or self.behaviour.act_dim != 2:
            return None
        return grids.masses(lambda points: self.behaviour.log_prob(self._silent(points), points))

    def _silent(self, points: Tensor) -> Tensor:
        return torch.zeros(len(points), self.behaviour.obs_dim, dtype=points.dtype)

    def _on_cells(self, act: Tensor) -> dict[str, float]:
        if self.mass is None:
            return {}
        ours, theirs = grids.smoothed(grids.counted(act[0])), grids.smoothed(self.mass)
        return {"kl": grids.divergence(ours, theirs), "kl_forward": grids.divergence(theirs, ours)}

    @cached_property
    def deviation(self) -> float:
        """Of Q under the behaviour."""
        return float(self.q(self.obs, self.ground.again.flatten(0, 1)).std())

    @cached_property
    def optima(self) -> dict[float, Tilted]:
        """Draws of pi*_beta, `[G m', A]`, m' = `COMPARED` over G or fewer, by strength."""
        if self.deviation < 1e-6:
            return {}
        generator = torch.Generator().manual_seed(SEED)
        obs = self.ground.obs[:, : self._few].flatten(0, 1)

        def propose(contexts: Tensor) -> Tensor:
            return self.behaviour.sample(contexts, generator)

        return {
            strength: tilted(propose, self.q, obs, strength / self.deviation, HIGHEST, generator)
            for strength in STRENGTHS
        }

    @property
    def _few(self) -> int:
        groups, each = self.ground.fresh.shape[:2]
        return min(each, max(100, COMPARED // groups))

    def _against_optimum(self, act: Tensor) -> dict[str, float]:
        few = act[:, : self._few]
        distances = {
            strength: np.mean([energy_distance(x, y) for x, y in zip(few, best.actions.view_as(few), strict=True)])
            for strength, best in self.optima.items()
        }
        if not distances:
            return {}
        nearest = min(distances, key=distances.__getitem__)
        return {"optimum_distance": float(distances[nearest]), "optimum_strength": nearest}

    def known(self) -> dict[str, np.ndarray]:
        """What figures need of the task: floors and ceilings by name, how the optima were drawn, the frontier."""
        names = list(self._scales)
        found = {
            "measures": np.array(names),
            "floors": np.array([self._scales[name][0] for name in names]),
            "ceilings": np.array([self._scales[name][1] for name in names]),
        }
        if self.behaviour.has_density:
            found["optimum_strengths"] = np.array(list(self.optima))
            found["optimum_accepted"] = np.array([best.accepted for best in self.optima.values()])
            found["optimum_effective"] = np.array([best.effective for best in self.optima.values()])
        if self.mass is not None and self.optima:
            cells = grids.centres(grids.SIDE)
            values = self.q(self._silent(cells), cells)
            kl, reward = grids.frontier(self.mass, values, [strength / self.deviation for strength in CURVE])
            found |= {"frontier_kl": kl.numpy(), "frontier_reward": reward.numpy()}
        return found
