"""A `local:` dataset as one of Minari too: python -m tasks.collect.to_minari NAME [ID]

ID is `policy-ablation/NAME-v0` unless given; then `--task minari:ID` reads it, and so does any tool that knows Minari.
The maze tasks set what a description of an environment cannot carry and are refused.
"""

from __future__ import annotations

import argparse

import numpy as np

from core.options import OptionError
from tasks.collect import local
from tasks.collect.record import episodes_of
from tasks.simulators import packages_for


def convert(name: str, identity: str | None = None) -> str:
    """Write the dataset, made where it is not there yet; returns the id. Raises `OptionError`, one line."""
    with packages_for(name):
        import h5py
        import minari

    if name not in local.LOCAL:
        raise OptionError(f"unknown {name!r}; there are {', '.join(local.LOCAL)}")
    dataset = local.LOCAL[name]
    if dataset.simulator.parts or dataset.simulator.attributes:
        raise OptionError(f"{name}: its environment is set up in ways that Minari cannot describe")
    identity = identity or f"policy-ablation/{name.removeprefix('local:')}-v0"
    with h5py.File(local.locate(name), "r") as file:
        arrays = {key: file[key][()] for key in file}
    simulation = dataset.simulator.start()
    low, high = dataset.reference or (None, None)
    minari.create_dataset_from_buffers(
        identity,
        [_episode(arrays, part) for part in episodes_of(arrays)],
        env=simulation.env,
        ref_min_score=low,
        ref_max_score=high,
        requirements=[],
        description=f"{name} of policy-ablation",
    )
    simulation.close()
    return identity


def _episode(arrays: dict[str, np.ndarray], part: slice):
    """One episode with its last observation; where the file lacks that, without its last step."""
    from minari.data_collector import EpisodeBuffer

    rows = {key: array[part] for key, array in arrays.items()}
    if "next_observations" in rows:
        observations = np.append(rows["observations"], rows["next_observations"][-1:], axis=0)
    else:
        observations = rows["observations"]
    steps = len(observations) - 1
    truncations = np.arange(steps) == steps - 1
    return EpisodeBuffer(
        observations=observations,
        actions=rows["actions"][:steps],
        rewards=rows["rewards"][:steps],
        terminations=rows["terminals"][:steps],
        truncations=truncations & ~rows["terminals"][:steps],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks.collect.to_minari")
    parser.add_argument("name", help="a local: dataset")
    parser.add_argument("id", nargs="?", help="what Minari will call it")
    said = parser.parse_args()
    try:
        print(f"minari:{convert(said.name, said.id)}")
    except OptionError as error:
        parser.error(str(error))
