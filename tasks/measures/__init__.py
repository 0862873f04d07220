"""Measures of how near a sample is to another, by name: pure functions of `[n, A]` and `[n, A]`.

Cheap ones are taken at every evaluation, expensive ones at the last. Where a measure is `scaled`, it is also given as a
share: 0 is what fresh data score, 1 what the best single Gaussian scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from tasks.measures.distances import energy_distance, sliced_wasserstein
from tasks.measures.neighbours import classifier_test, neighbourhoods


@dataclass(frozen=True)
class Measure:
    """`of`: (a policy's actions, fresh data) -> one number or several by name; `most`: rows of each that are used."""

    of: Callable[[Tensor, Tensor], float | dict[str, float]]
    meaning: dict[str, str]
    expensive: bool = False
    scaled: bool = True
    most: int = 4000

    def __call__(self, x: Tensor, y: Tensor) -> dict[str, float]:
        """By name, of the first `most` rows."""
        found = self.of(x[: self.most], y[: self.most])
        return found if isinstance(found, dict) else dict.fromkeys(self.meaning, found)


MEASURES: tuple[Measure, ...] = (
    Measure(energy_distance, {"energy_distance": "to fresh data; 0 is equal"}, most=2000),
    Measure(sliced_wasserstein, {"sliced_wasserstein": "mean 2-Wasserstein distance of projections to fresh data"}),
    Measure(
        classifier_test,
        {"c2st": "accuracy of a classifier that tells samples from fresh data; 0.5 is equal, 1 is apart"},
        expensive=True,
        most=2000,
    ),
    Measure(
        neighbourhoods,
        {
            "precision": "share of samples within the neighbourhoods of fresh data (k = 5)",
            "recall": "share of fresh data within the neighbourhoods of samples (k = 5)",
            "density": "neighbourhoods of fresh data that a sample is in, over k",
            "coverage": "share of fresh data with a sample in their neighbourhood",
        },
        expensive=True,
        scaled=False,
        most=2000,
    ),
)

__all__ = ["MEASURES", "Measure"]
