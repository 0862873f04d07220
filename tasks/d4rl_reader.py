"""D4RL's HDF5 files without D4RL: read, checked, and turned into transitions as `d4rl.qlearning_dataset` does.

Axes: N steps in the file, n transitions, O observation, A action. A file is a sequence of steps, episode after episode;
the next observation of a step is the observation of the following step, so the last step of an episode that was
cut off has none and is left out, and the last step of the file always is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks import containers
from tasks.validation import BadFile, as_used, checked, flags, in_unit_box, numeric

KEYS = ("observations", "actions", "rewards", "terminals")


@dataclass(frozen=True)
class Steps:
    """What a file holds, checked. `timeouts` is None in the first release's files."""

    observations: np.ndarray  # [N, O]
    actions: np.ndarray  # [N, A]
    rewards: np.ndarray  # [N]
    terminals: np.ndarray  # [N] bool
    timeouts: np.ndarray | None  # [N] bool
    #: in files that keep them; not used, as d4rl does not, and compared with what follows
    next_observations: np.ndarray | None = None  # [N, O]


@dataclass(frozen=True)
class QLearning:
    """Transitions, float32, named as D4RL names them."""

    observations: np.ndarray  # [n, O]
    actions: np.ndarray  # [n, A]
    rewards: np.ndarray  # [n]
    next_observations: np.ndarray  # [n, O]
    terminals: np.ndarray  # [n] bool
    #: what the data did next, where known; after a terminal step, which has no next, that of another episode
    next_actions: np.ndarray | None = None  # [n, A]
    #: what of its file was odd and is allowed, a clause each
    notes: tuple[str, ...] = ()
    #: rows at which episodes begin, where the source says; else they are found (tasks/validation.py)
    begins: np.ndarray | None = None


def read(path: Path, obs_dim: int, act_dim: int) -> Steps:
    """The steps in the file, with observations `[N, obs_dim]` and actions `[N, act_dim]`; raises `BadFile`."""
    arrays = _arrays(path)
    count = arrays["rewards"].shape[0] if arrays["rewards"].ndim else 0
    for key, shape in (("observations", (obs_dim,)), ("actions", (act_dim,))):
        got = arrays[key].shape
        if len(got) != 2 or got[1:] != shape:
            raise BadFile(f"{path}: {key} has shape {got}, this task's is (steps, {shape[0]}); a file of another task?")
    for key in ("rewards", "terminals", "timeouts"):
        if key in arrays and arrays[key].shape == (len(arrays["observations"]), 1):
            arrays[key] = arrays[key][:, 0]  # as d4rl does
    for key, array in arrays.items():
        if key not in ("observations", "actions", "next_observations") and array.ndim != 1:
            raise BadFile(f"{path}: {key} has shape {array.shape}, expected one number for each step")
        if len(array) != count:
            raise BadFile(f"{path}: {key} has {len(array)} steps and rewards has {count}; expected as many")
    if count < 2:
        raise BadFile(f"{path}: holds {count} steps, a transition needs two; there is no episode in it")
    for key in ("observations", "actions", "rewards"):
        as_used(path, key, arrays[key])
    in_unit_box(path, "actions", arrays["actions"])
    ends = {key: flags(path, key, arrays[key]) for key in ("terminals", "timeouts") if key in arrays}
    numbers = {key: arrays[key] for key in ("observations", "actions", "rewards")}
    following = arrays.get("next_observations")
    return Steps(**numbers, terminals=ends["terminals"], timeouts=ends.get("timeouts"), next_observations=following)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of the file by key, numeric but otherwise unchecked."""
    with containers.hdf5(path) as file:
        missing = [key for key in KEYS if key not in file]
        if missing:
            raise BadFile(f"{path}: has no {', '.join(missing)}; it has {_shown(file)}")
        arrays = {key: _numeric(path, key, file) for key in (*KEYS, "timeouts") if key in file}
        own = file.get("next_observations")
        if getattr(own, "shape", None) == arrays["observations"].shape and own.dtype.kind == "f":
            arrays["next_observations"] = own[()]
        return arrays


def _shown(file) -> str:
    names = sorted(map(str, file))
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "") if names else "nothing"


def _numeric(path: Path, key: str, file) -> np.ndarray:
    import h5py

    item = file[key]
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        raise BadFile(f"{path}: {key} is not an array")
    array = item[()] if item.shape else np.asarray(item[()])
    return numeric(path, key, array, "biuf" if key in ("terminals", "timeouts") else "f")


def qlearning(steps: Steps, limit: int, terminate_on_end: bool = False) -> QLearning:
    """`d4rl.qlearning_dataset` (d4rl 1.1) without its loop: equal to it element by element.

    `limit` is the environment's time limit, which ends episodes in files without timeouts. The last step of an
    episode cut off by it is left out, even where it is terminal too, unless `terminate_on_end`; D4RL then keeps it,
    with the first observation of the next episode as its next one, and so do we.
    """
    keep = np.ones(len(steps.rewards) - 1, bool)
    if not terminate_on_end:
        ends = steps.timeouts if steps.timeouts is not None else counted_timeouts(steps.terminals, limit)
        keep &= ~ends[:-1]
    here = np.flatnonzero(keep)
    odd = tuple(_contradictions(steps, here))
    observations = steps.observations.astype(np.float32)
    return QLearning(
        observations[here],
        steps.actions[here].astype(np.float32),
        steps.rewards[here].astype(np.float32),
        observations[here + 1],
        steps.terminals[here],
        steps.actions[here + 1].astype(np.float32),
        odd,
    )


def _contradictions(steps: Steps, here: np.ndarray) -> Iterator[str]:
    """Where a file's own next observations are not the observations that follow."""
    if steps.next_observations is None:
        return
    rows = here[~steps.terminals[here]]
    told, after = steps.next_observations[rows], steps.observations[rows + 1]
    other = ~np.isclose(told, after, rtol=1e-4, atol=1e-4).all(-1)
    if other.any():
        first = int(rows[other.argmax()])
        yield (
            f"next_observations[{first}] is not observations[{first + 1}], nor are {int(other.sum()) - 1} others; "
            "the observations that follow are used, as d4rl does"
        )


def load(path: Path, obs_dim: int, act_dim: int, limit: int) -> QLearning:
    """The transitions of a file of a task with these shapes and this time limit; raises `BadFile`."""
    return checked(path, qlearning(read(path, obs_dim, act_dim), limit))


def counted_timeouts(terminals: np.ndarray, limit: int) -> np.ndarray:
    """Where d4rl sees the time limit in a file without timeouts, `[N] -> [N]` bool.

    Its step counter restarts at 0 after a time limit but (by the order of its statements) at 1 after a terminal
    step, so an episode that follows a terminal one is cut a step early. Within a stretch up to a terminal step the
    counter is (start + position) mod limit; start is 1 unless the terminal step before fell on a time limit itself.
    """
    last = len(terminals) - 1
    ends = np.append(np.flatnonzero(terminals[:-1]), last)
    begins = np.append(0, ends[:-1] + 1)
    lengths = ends - begins + 1
    starts = np.ones(len(ends), np.int64)
    starts[0] = 0
    # only a stretch whose length is a whole number of limits, or one less, can make its successor start at 0
    for k in np.flatnonzero(np.isin(lengths[:-1] % limit, (0, limit - 1))):
        starts[k + 1] = int((starts[k] + lengths[k]) % limit != 0)
    position = np.arange(len(terminals)) - np.repeat(begins, lengths)
    return (np.repeat(starts, lengths) + position) % limit == limit - 1
