"""Which columns of a file are the observations, actions, ...: by the user's word, else by the names in common use.

`--task.keys observations=obs,actions=act` names columns. `a+b` joins several side by side, `x_*` all that match, in
their natural order. `rewards=none` says that there are none.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from typing import Any

from core.options import OptionError, unknown_name
from tasks.validation import BadFile

#: field -> names in common use, the first that is there is taken; LeRobot's have dots, robomimic's are short
FIELDS: dict[str, tuple[str, ...]] = {
    "observations": ("observations", "observation", "obs", "states", "state", "observation.state"),
    "actions": ("actions", "action", "acts", "act"),
    "rewards": ("rewards", "reward", "rews", "rew", "next.reward"),
    "terminals": ("terminals", "terminal", "terminations", "terminated", "dones", "done", "next.done"),
    "timeouts": ("timeouts", "timeout", "truncations", "truncated", "next.truncated"),
    "next_observations": ("next_observations", "next_observation", "next_obs", "next_states", "next_state"),
    "episodes": ("episodes", "episode", "episode_ids", "episode_id", "episode_index"),
}
NEEDED = ("observations", "actions", "rewards", "terminals")
#: may be said to be absent
SPARED = ("rewards", "terminals", "timeouts", "next_observations", "episodes")
NONE = "none"
#: a flag of these names may be set at a time limit too
OF_EITHER = ("dones", "done", "next.done")


def read_keys(text: str | None) -> dict[str, str]:
    """`observations=obs,rewards=none` by field. Raises `OptionError` for what is not so."""
    named: dict[str, str] = {}
    for word in filter(None, (text or "").split(",")):
        field, equals, column = word.partition("=")
        if not equals or not column:
            raise OptionError(f"--task.keys: {word!r} names no column; one is {(field or 'observations')}=NAME")
        if field not in FIELDS:
            raise OptionError(f"--task.keys: {unknown_name(field, FIELDS)}")
        if field in named:
            raise OptionError(f"--task.keys: {field} is named twice; join columns as {field}={named[field]}+{column}")
        if column == NONE and field not in SPARED:
            raise OptionError(f"--task.keys: {field} cannot be none; a policy learns from observations and actions")
        named[field] = column
    return named


def natural(name: str) -> list[Any]:
    """A key to order by: numbers in names by their size."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def columns_of(source: Any, names: Sequence[str], said: Mapping[str, str]) -> dict[str, list[str]]:
    """Field -> the columns that make it, side by side. Raises `BadFile` where one that is needed is not there."""
    found: dict[str, list[str]] = {}
    for field, usual in FIELDS.items():
        if said.get(field) == NONE:
            continue
        if field in said:
            found[field] = [name for part in said[field].split("+") for name in _matching(source, part, names, field)]
            continue
        there = next((columns for name in usual if (columns := _named(name, names))), None)
        if there is not None:
            found[field] = there
        elif field in NEEDED:
            spared = f", or {field}={NONE}" if field in SPARED else ""
            raise BadFile(
                f"{source}: has no {field}; it has {_shown(names)}; say which: --task.keys {field}=NAME{spared}"
            )
    return found


def _named(name: str, names: Sequence[str]) -> list[str]:
    """The column of this name, or those of it numbered: `obs_0`, `obs_1`, ..."""
    if name in names:
        return [name]
    numbered = re.compile(rf"{re.escape(name)}[_.]?\d+|{re.escape(name)}\[\d+\]")
    return sorted((one for one in names if numbered.fullmatch(one)), key=natural)


def _matching(source: Any, part: str, names: Sequence[str], field: str) -> list[str]:
    if part in names:
        return [part]
    matching = sorted(fnmatch.filter(names, part), key=natural) if set(part) & set("*?[") else []
    if not matching:
        raise BadFile(f"{source}: has no {part}, which --task.keys names for {field}; it has {_shown(names)}")
    return matching


def _shown(names: Sequence[str]) -> str:
    short = [name if len(name) <= 40 else f"{name[:37]}..." for name in sorted(names, key=natural)]
    return ", ".join(short[:8]) + (f" and {len(short) - 8} more" if len(short) > 8 else "") if short else "nothing"
