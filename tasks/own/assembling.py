"""Tables of steps as transitions, checked by what every reader of data asks (tasks/validation.py).

A row is a step. Its next observation is the file's own where it has them, else the following row's. An episode ends at
a terminal step, at a timeout, where the episode's number changes, and with its table. A last step that is not terminal
and has no next observation is left out, as D4RL leaves it out; a table of one episode may have an observation more,
as Minari keeps it. Axes: N steps of a table, n transitions, O observation, A action.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tasks.d4rl_reader import QLearning
from tasks.own.formats import Table
from tasks.own.keys import NONE, OF_EITHER, columns_of
from tasks.validation import BadFile, as_used, flags, numeric

#: a next observation that the file has may differ from the following row's by this much of its size
NEAR = 1e-4


@dataclass(frozen=True)
class Steps:
    """Transitions of one table; actions as the file has them."""

    observations: np.ndarray  # [n, O]
    actions: np.ndarray  # [n, A]
    rewards: np.ndarray  # [n]
    next_observations: np.ndarray  # [n, O]
    terminals: np.ndarray  # [n] bool
    #: rows at which episodes begin; None where nothing says
    begins: np.ndarray | None
    notes: tuple[str, ...] = ()


def steps_of(table: Table, said: Mapping[str, str]) -> Steps:
    """The transitions of a table, by the columns the user `said`. Raises `BadFile`, one line, for what cannot be."""
    fields = columns_of(table.source, table.names, said)
    wanted = list(dict.fromkeys(name for names in fields.values() for name in names))
    loaded = table.load(wanted)
    arrays = {field: _joined(table.source, field, names, loaded) for field, names in fields.items()}
    count = len(arrays["actions"])
    for field in ("rewards", "terminals"):
        arrays.setdefault(field, np.zeros(count, np.float32))
    _refuse_other_lengths(table, arrays, count)
    checked = {field: as_used(table.source, field, arrays[field]) for field in ("observations", "actions", "rewards")}
    checked["terminals"] = flags(table.source, "terminals", arrays["terminals"])
    if "timeouts" in arrays:
        checked["timeouts"] = flags(table.source, "timeouts", arrays["timeouts"])
    if "next_observations" in arrays:
        checked["next_observations"] = as_used(table.source, "next_observations", arrays["next_observations"])
    if "episodes" in arrays:
        checked["episodes"] = arrays["episodes"]
    made = _transitions(table, checked, count)
    return replace(made, notes=(*_names_used(fields, said), *made.notes))


def _joined(source: str, field: str, names: Sequence[str], loaded: Mapping[str, np.ndarray]) -> np.ndarray:
    """The columns of a field side by side: `[N, .]` of observations and actions, else `[N]`."""
    wide = field in ("observations", "actions", "next_observations")
    parts = []
    for name in names:
        array = numeric(source, name, loaded[name], "f" if field == "actions" else "biuf")
        if array.ndim == 0 or array.ndim > 2 or (array.ndim == 2 and not array.shape[1]):
            what = "policies here take vectors" if wide else "expected one number for each step"
            raise BadFile(f"{source}: {name} has shape {array.shape}; {what}")
        parts.append(array if array.ndim == 2 else array[:, None])
    lengths = {name: len(part) for name, part in zip(names, parts, strict=True)}
    if len(set(lengths.values())) > 1:
        raise BadFile(f"{source}: the columns of {field} have {list(lengths.values())[:8]} rows; expected as many")
    joined = np.concatenate(parts, 1) if len(parts) > 1 else parts[0]
    if not wide and joined.shape[1] != 1:
        raise BadFile(f"{source}: {field} has shape {joined.shape}; expected one number for each step")
    return joined if wide else joined[:, 0]


def _refuse_other_lengths(table: Table, arrays: dict[str, np.ndarray], count: int) -> None:
    """Every field has a row for each action; the observations of an episode may have one more, which is its last."""
    if not count:
        raise BadFile(f"{table.source}: holds no step")
    beyond = len(arrays["observations"]) == count + 1 and table.is_episode and "next_observations" not in arrays
    if beyond:
        arrays["next_observations"] = arrays["observations"][1:]
        arrays["observations"] = arrays["observations"][:-1]
    for field, array in arrays.items():
        if len(array) != count:
            more = " (an observation more is of an episode alone)" if field == "observations" else ""
            raise BadFile(f"{table.source}: {field} has {len(array)} rows and actions {count}; expected as many{more}")
    following = arrays.get("next_observations")
    if following is not None and following.shape != arrays["observations"].shape:
        raise BadFile(f"{table.source}: next_observations has shape {following.shape}, observations has another")


def _transitions(table: Table, arrays: Mapping[str, np.ndarray], count: int) -> Steps:
    ends = _ends(table, arrays, count)
    known = ends is not None
    last = np.zeros(count, bool) if ends is None else ends
    last[-1] = True
    obs, terminals = arrays["observations"], arrays["terminals"]
    own = arrays.get("next_observations")
    if own is None:
        last = last | terminals
        kept = ~last | terminals
        following = np.append(obs[1:], obs[-1:], 0)
        # a terminal state has no value, whatever it is
        following[last] = obs[last]
    else:
        last, kept, following = last | terminals, np.ones(count, bool), own
    rows = np.flatnonzero(kept)
    if not len(rows):
        raise BadFile(f"{table.source}: no transition in it; each of its {count} steps ends an episode")
    number = np.append(0, np.cumsum(last[:-1]))[rows]
    begins = np.append(0, np.flatnonzero(np.diff(number)) + 1)
    return Steps(
        obs[rows],
        arrays["actions"][rows],
        arrays["rewards"][rows],
        following[rows],
        terminals[rows],
        begins if known or own is None else None,
        tuple(_contradictions(obs, own, last)),
    )


def _ends(table: Table, arrays: Mapping[str, np.ndarray], count: int) -> np.ndarray | None:
    """The steps `[N]` after which another episode begins, terminal ones aside; None where nothing says."""
    if table.is_episode:
        return arrays.get("timeouts", np.zeros(count, bool)).copy()
    if "episodes" not in arrays and "timeouts" not in arrays:
        return None
    ends = arrays.get("timeouts", np.zeros(count, bool)).copy()
    if "episodes" in arrays:
        ends[:-1] |= arrays["episodes"][1:] != arrays["episodes"][:-1]
    return ends


def _contradictions(obs: np.ndarray, own: np.ndarray | None, last: np.ndarray) -> Iterator[str]:
    """Where a file's own next observations are not those of the following row, within an episode."""
    if own is None or len(obs) < 2:
        return
    within = np.flatnonzero(~last[:-1])
    apart = ~np.isclose(own[within], obs[within + 1], rtol=NEAR, atol=NEAR).all(-1)
    if len(within) and apart.any():
        first = int(within[apart.argmax()])
        yield (
            f"next_observations[{first}] is not observations[{first + 1}], nor are {int(apart.sum()) - 1} others of "
            f"{len(within)}; the file's own are used"
        )


def _names_used(fields: Mapping[str, Sequence[str]], said: Mapping[str, str]) -> Iterator[str]:
    """What was taken for what without being told."""
    guessed = {field: names for field, names in fields.items() if field not in said and names != [field]}
    if guessed:
        shown = ", ".join(f"{field} from {_short(names)}" for field, names in guessed.items())
        yield f"took {shown}"
    if "terminals" in fields and fields["terminals"][0] in OF_EITHER:
        name = fields["terminals"][0]
        yield f"{name} is read as the end of the task; name another column where it is set at a time limit too"
    for field in ("rewards", "terminals"):
        if said.get(field) == NONE:
            yield f"no {field}: all are 0"


def _short(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def joined(source: Any, parts: Sequence[Steps]) -> QLearning:
    """The transitions of all tables, actions as the files have them. Raises `BadFile` where widths differ."""
    first = parts[0]
    for number, part in enumerate(parts):
        for field in ("observations", "actions"):
            wide, of_first = (getattr(one, field).shape[1] for one in (part, first))
            if wide != of_first:
                raise BadFile(f"{source}: {field} of table {number} has {wide} columns, of the first {of_first}")
    at = np.cumsum([0, *(len(part.rewards) for part in parts)])[:-1]
    known = [part.begins for part in parts]
    begins = None
    if len(parts) > 1 or known[0] is not None:
        # a table begins an episode; what nothing says within it is found as IQL finds it
        begins = np.concatenate([_found(part) + start for part, start in zip(parts, at, strict=True)])
    arrays = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in ("observations", "actions", "rewards", "next_observations", "terminals")
    }
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    few = notes if len(notes) <= 6 else (*notes[:5], f"and {len(notes) - 5} more notes of this kind")
    return QLearning(**arrays, notes=few, begins=begins)


def _found(part: Steps) -> np.ndarray:
    from tasks.validation import first_rows

    if part.begins is not None:
        return part.begins
    return first_rows(QLearning(part.observations, part.actions, part.rewards, part.next_observations, part.terminals))
