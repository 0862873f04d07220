"""The same small set of your own data in every form that is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

Episode = dict[str, np.ndarray]


def episodes(count=8, length=12, obs_dim=4, act_dim=2, seed=0) -> list[Episode]:
    """Every other one ends in a terminal step, the others at a time limit; an observation more than steps."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        obs = rng.standard_normal((length + 1, obs_dim)).astype(np.float32)
        noise = 0.3 * rng.standard_normal((length, act_dim))
        ends, terminal = np.arange(length) == length - 1, number % 2 == 0
        made.append(
            {
                "observations": obs,
                "actions": np.tanh(obs[:-1, :act_dim] + noise).astype(np.float32),
                "rewards": rng.standard_normal(length).astype(np.float32),
                "terminals": ends & terminal,
                "timeouts": ends & (not terminal),
            }
        )
    return made


def flat(of: list[Episode]) -> Episode:
    """One row for each step."""
    parts = [
        {**one, "observations": one["observations"][:-1], "next_observations": one["observations"][1:]} for one in of
    ]
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def npz(folder: Path, of: list[Episode]) -> Path:
    np.savez(folder / "own.npz", **flat(of))
    return folder / "own.npz"


def hdf5(folder: Path, of: list[Episode]) -> Path:
    import h5py

    with h5py.File(folder / "own.hdf5", "w") as file:
        for key, array in flat(of).items():
            file[key] = array
    return folder / "own.hdf5"


def episodic(folder: Path, of: list[Episode]) -> Path:
    """HDF5 with a group for each episode."""
    import h5py

    with h5py.File(folder / "episodes.hdf5", "w") as file:
        for number, one in enumerate(of):
            for key, array in one.items():
                file[f"data/demo_{number}/{key}"] = array
    return folder / "episodes.hdf5"


def table(content: Episode):
    import pyarrow as pa

    return pa.table({key: list(array) if array.ndim == 2 else array for key, array in content.items()})


def parquet(folder: Path, of: list[Episode]) -> Path:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table(flat(of)), folder / "own.parquet")
    return folder / "own.parquet"


def arrow(folder: Path, of: list[Episode]) -> Path:
    import pyarrow as pa

    made = table(flat(of))
    with pa.OSFile(str(folder / "own.arrow"), "wb") as stream, pa.ipc.new_file(stream, made.schema) as writer:
        writer.write_table(made)
    return folder / "own.arrow"


def minari(folder: Path, of: list[Episode]) -> Path:
    """A Minari set that names no environment."""
    import h5py
    from gymnasium.spaces import Box
    from minari.serialization import serialize_space

    place = folder / "minari" / "own" / "set-v0" / "data"
    place.mkdir(parents=True)
    names = {"terminals": "terminations", "timeouts": "truncations"}
    with h5py.File(place / "main_data.hdf5", "w") as file:
        for number, one in enumerate(of):
            group = file.create_group(f"episode_{number}")
            group.attrs.update({"id": number, "total_steps": len(one["rewards"])})
            for key, array in one.items():
                group[names.get(key, key)] = array
    import json

    widths = {key: of[0][key].shape[1] for key in ("observations", "actions")}
    told = {
        "dataset_id": "own/set-v0",
        "data_format": "hdf5",
        "minari_version": "0.5.4",
        "total_episodes": len(of),
        "total_steps": sum(len(one["rewards"]) for one in of),
        "observation_space": serialize_space(Box(-np.inf, np.inf, (widths["observations"],), np.float32)),
        "action_space": serialize_space(Box(-1, 1, (widths["actions"],), np.float32)),
    }
    (place / "metadata.json").write_text(json.dumps(told))
    return place.parent


#: name -> (writes it, what it needs)
FORMS = {
    "npz": (npz, ()),
    "flat HDF5": (hdf5, ("h5py",)),
    "HDF5 by episodes": (episodic, ("h5py",)),
    "Parquet": (parquet, ("pyarrow",)),
    "Arrow": (arrow, ("pyarrow",)),
    "Minari": (minari, ("minari", "gymnasium", "h5py")),
}
