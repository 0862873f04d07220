"""Small D4RL files for tests, and D4RL's own loop to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def arrays(lengths=(5, 4, 6), *, obs_dim=11, act_dim=3, terminal=(1,), timeouts=True, seed=0) -> dict[str, np.ndarray]:
    """Episodes of these lengths; those numbered in `terminal` end in a terminal step, the others by the time limit."""
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    ends = np.cumsum(lengths) - 1
    over, dead = np.zeros(count, bool), np.zeros(count, bool)
    dead[[ends[i] for i in terminal]] = True
    over[[end for i, end in enumerate(ends) if i not in terminal]] = True
    made = {
        "observations": rng.standard_normal((count, obs_dim)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (count, act_dim)).astype(np.float32),
        "rewards": rng.standard_normal(count).astype(np.float32),
        "terminals": dead,
        "timeouts": over,
    }
    if not timeouts:
        del made["timeouts"]
    return made


def save(path: Path, content: dict[str, np.ndarray], **options) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for key, array in content.items():
            file.create_dataset(key, data=array, **options)
    return path


def qlearning_by_hand(dataset: dict[str, np.ndarray], limit: int, terminate_on_end: bool) -> dict[str, np.ndarray]:
    """The loop of `d4rl.qlearning_dataset` in d4rl 1.1, statement by statement."""
    kept = {"observations": [], "actions": [], "next_observations": [], "rewards": [], "terminals": []}
    episode_step = 0
    for i in range(dataset["rewards"].shape[0] - 1):
        done = bool(dataset["terminals"][i])
        final = dataset["timeouts"][i] if "timeouts" in dataset else episode_step == limit - 1
        if (not terminate_on_end) and final:
            episode_step = 0
            continue
        if done or final:
            episode_step = 0
        kept["observations"].append(dataset["observations"][i].astype(np.float32))
        kept["next_observations"].append(dataset["observations"][i + 1].astype(np.float32))
        kept["actions"].append(dataset["actions"][i].astype(np.float32))
        kept["rewards"].append(dataset["rewards"][i].astype(np.float32))
        kept["terminals"].append(done)
        episode_step += 1
    return {key: np.array(rows) for key, rows in kept.items()}
