"""A behaviour policy without the library that trained it: a squashed Gaussian MLP in NumPy.

    a = tanh(mu(s) + sigma(s) z), z ~ N(0, I); [mu, log sigma] = MLP(s), ReLU between layers  (SAC, 1812.05905, app. C)

Axes: n observations, O observation, A action.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LOG_STD_RANGE = (-20.0, 2.0)


@dataclass(frozen=True)
class Actor:
    """Weights `[in, out]` and biases `[out]` of each layer; the last has 2A outputs, means then log deviations."""

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]

    @property
    def act_dim(self) -> int:
        return len(self.biases[-1]) // 2

    def act(self, obs: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Actions `[n, A]` in (-1, 1) for observations `[n, O]` and standard normal noise `[n, A]`."""
        hidden = obs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.maximum(hidden @ weight + bias, 0)
        mean, log_std = np.split(hidden @ self.weights[-1] + self.biases[-1], 2, axis=-1)
        return np.tanh(mean + np.exp(np.clip(log_std, *LOG_STD_RANGE)) * noise)

    def save(self, path: Path) -> None:
        """Half precision, which is what is then rolled out: small files, and the same numbers everywhere."""
        layers = {f"w{i}": weight.astype(np.float16) for i, weight in enumerate(self.weights)}
        layers |= {f"b{i}": bias.astype(np.float16) for i, bias in enumerate(self.biases)}
        np.savez_compressed(path, **layers)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Actor:
        with np.load(path) as layers:
            count = len(layers.files) // 2
            weights, biases = (tuple(layers[f"{kind}{i}"].astype(np.float64) for i in range(count)) for kind in "wb")
        return cls(weights, biases)
