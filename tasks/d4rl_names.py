"""The names D4RL gives its tasks, what their scores are measured against, and where the files are (2004.07219)."""

from __future__ import annotations

import numpy as np

#: returns of a random policy and of an expert, by environment
REFERENCE = {
    "halfcheetah": (-280.178953, 12135.0),
    "walker2d": (1.629008, 4592.3),
    "hopper": (-20.272305, 3234.3),
}


def normalise(environment: str, returns: np.ndarray) -> np.ndarray:
    """Returns on D4RL's scale as the papers print it: 0 is random, 100 an expert."""
    low, high = REFERENCE[environment]
    return 100 * (returns - low) / (high - low)
