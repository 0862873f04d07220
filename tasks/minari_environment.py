"""Where policies learned from a Minari dataset are evaluated: its environment, its time limit, and what a score means.

References belong to reward, ends of an episode and horizon. The dataset's own come first. D4RL's are taken only where
the environment is the one they were measured in; on Adroit that takes D4RL's rules (tasks/adroit.py). Otherwise the
score is what the environment says is done, and where it says nothing there is none.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks import adroit, environments
from tasks.collect.locomotion import SIMULATORS
from tasks.d4rl_names import ADROIT, ADROIT_LIMITS, LOCOMOTION
from tasks.environments import Described
from tasks.kinds import DENSE, Kind, kind_of
from tasks.simulators import Rules, Simulator, installed

#: steps of an episode where neither the data nor the registry sets a limit
LIMIT = 1000


@dataclass(frozen=True)
class MinariSimulator(Simulator):
    """The environment a dataset describes, made from the registry (tasks/environments.py)."""

    described: Described = field(default_factory=lambda: Described(""))

    def make(self):
        """The environment itself. Raises `OptionError` where its package is missing."""
        return environments.made(self.described, self.limit)

    def physics(self) -> dict[str, str]:
        """What computed the motion: packages with versions, and the environment with what it is given."""
        options = dict(self.described.options)
        given = {"arguments": json.dumps(options, sort_keys=True)} if options else {}
        return {**super().physics(), "minari": installed("minari"), **given}


@dataclass(frozen=True)
class Evaluated:
    """How a dataset's policies are evaluated; `simulator` None where the data name no environment."""

    simulator: Simulator | None
    limit: int
    reference: tuple[float, float] | None
    #: what the user has to know of it, a line each
    notes: tuple[str, ...] = ()


def described(source: Path | str, metadata: Mapping[str, Any]) -> dict[str, Described]:
    """The environments by key: of evaluation, of recording. Raises `BadFile` for one that data may not ask."""
    return {
        key: environments.read(f"{source}: {key}", metadata[key])
        for key in ("eval_env_spec", "env_spec")
        if metadata.get(key) is not None
    }


def of(source: Path | str, metadata: Mapping[str, Any], parts: tuple[tuple[str, ...], ...], longest: int) -> Evaluated:
    """By a dataset's metadata, the parts of its observation, and the steps of its longest episode."""
    named = described(source, metadata)
    own = _own_reference(metadata)
    if not named:
        return Evaluated(None, longest or LIMIT, own)
    told = next(iter(named.values()))
    notes = list(_differences(named))
    limit, registered = told.limit or told.registered_limit or LIMIT, told.registered_limit
    if 0 < longest < limit and (registered is None or limit > registered):
        notes.append(f"episodes end after {longest} steps, as the longest one recorded; the data name {limit}")
        limit = longest
    reference, rules, limit = _scale(own, kind_of(told.entry_point, told.arguments), told, limit)
    simulator = MinariSimulator(told.env_id, limit, parts, plugin=told.plugin, rules=rules, described=told)
    return Evaluated(simulator, limit, reference, tuple(notes))


def _own_reference(metadata: Mapping[str, Any]) -> tuple[float, float] | None:
    told = [metadata.get(key) for key in ("ref_min_score", "ref_max_score")]
    try:
        low, high = (float(value) for value in told)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return (low, high) if math.isfinite(low) and math.isfinite(high) and low < high else None


def _scale(
    own: tuple[float, float] | None, kind: Kind | None, told: Described, limit: int
) -> tuple[tuple[float, float] | None, Rules | None, int]:
    """Reference, the rules that belong to it, and the time limit."""
    if kind is None or kind.reward != DENSE or not set(told.options) <= {"reward_type"}:
        return own, None, limit
    if kind.family == "adroit" and own in (None, ADROIT[kind.body][2]):
        return ADROIT[kind.body][2], adroit.RULES[kind.body], min(limit, ADROIT_LIMITS[kind.body])
    # D4RL's locomotion whose maintained environments have its observations, reward and ends
    same = SIMULATORS.get(kind.body) if kind.family == "locomotion" else None
    if own is None and same is not None and limit == same.limit:
        return LOCOMOTION[kind.body][2], None, limit
    return own, None, limit


def _differences(named: Mapping[str, Described]) -> Iterator[str]:
    """Where the environment of evaluation is not that of the data."""
    if len(named) < 2:
        return
    here, then = named["eval_env_spec"], named["env_spec"]
    apart = [("environment", here.env_id, then.env_id)] if here.env_id != then.env_id else []
    for key in sorted({*here.options, *then.options}):
        one, other = (spec.options.get(key, "the default") for spec in (here, then))
        if one != other:
            apart.append((key, one, other))
    for what, one, other in apart:
        yield f"evaluated in another environment than recorded in: {what} is {_short(one)}, in the data {_short(other)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
