"""A plan: what is to be made, as data. The command line, a file and Python each make one; a study is one.

    Plan(task="bandit", policy=["diffusion", "gaussian"], improvement=["none", "q-max"], seeds=range(3))

Several levels of a factor or of an option are crossed: each combination is a run. `arms` are sets of runs of one plan
that no crossing makes; each has a label and says what it sets besides what is common.
"""

from __future__ import annotations

import dataclasses
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ablations.plan import own
from ablations.plan.budget import Budget
from ablations.plan.typed import refuse_mistyped
from core.options import OptionError, unknown_name

#: factors whose levels are names
FACTORS = ("preset", "policy", "regularizer", "improvement", "backup", "selection", "resample")
BUDGET = tuple(one.name for one in dataclasses.fields(Budget))
#: what an arm may set besides what is common
OF_ARMS = (*FACTORS, *BUDGET, "options", "bc_only", "as_released", "critic_from", "precision", "seeds", "varied")

#: names, and in Python also classes and configurations
Levels = Any


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The runs of one comparison. Raises `OptionError` for what no plan can be.

    `task`: a name, or a class of your own; `policy`, `preset`, `regularizer`, `improvement`, `backup`: names, as
    `--list` prints them, or classes or configurations, of your own too; `selection`, `resample`: ways to act, as on the
    command line (`argmax-q:candidates=10`); `options`: `part.field` -> a value or several
    (`{"policy.T": [5, 50], "policy.base": "cvae"}`); `steps` to `early_stop`: as `Budget`, None for the
    default; `arms`: label (nothing: made from the parts) -> fields; `name`, `question`, `figures`: of a study.
    """

    task: Any = "bandit"
    preset: Levels = ()
    policy: Levels = ()
    regularizer: Levels = ()
    improvement: Levels = ()
    backup: Levels = ()
    selection: Levels = ()
    resample: Levels = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    seeds: Iterable[int] = (0, 1, 2, 3, 4)
    steps: int | None = None
    eval_every: int | None = None
    eval_episodes: int | None = None
    lr_decay: str | None = None
    early_stop: bool | None = None
    bc_only: bool = False
    as_released: bool = False
    critic_from: str | None = None
    precision: str = "float32"
    backend: str = "gymnasium"
    #: leave out combinations that cannot work, saying why
    skip_impossible: bool = False
    arms: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    name: str | None = None
    question: str | None = None
    figures: Sequence[str] = ()
    #: by what the runs differ, where a record says so and no level does
    varied: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found: dict[str, Any] = {}
        for factor in FACTORS:
            levels, of_objects = _levels(factor, getattr(self, factor))
            object.__setattr__(self, factor, levels)
            found |= of_objects
        object.__setattr__(self, "task", own.of_object("task", self.task)[0])
        options = {
            **{key: (value,) for key, value in found.items()},
            **{_key(key): _values(value) for key, value in _flat("options", self.options)},
        }
        object.__setattr__(self, "options", options)
        object.__setattr__(self, "seeds", _seeds(self.seeds))
        object.__setattr__(self, "figures", _names("figures", self.figures))
        for label, arm in _mapping("arms", self.arms).items():
            for name in _mapping(f"arm {label}", arm):
                if name not in OF_ARMS:
                    raise OptionError(f"arm {label}: {unknown_name(name, OF_ARMS)}")
        _mapping("varied", self.varied)
        refuse_mistyped({one.name: getattr(self, one.name) for one in dataclasses.fields(self)})
        if self.bc_only and self.improvement not in ((), ("none",)):
            raise OptionError(
                f"--bc-only and --improvement {' '.join(self.improvement)} exclude each other: "
                "behaviour cloning alone has no improvement; leave one of them out"
            )

    def commands(self) -> Iterator[tuple[str | None, Plan]]:
        """Each arm with its label, as a plan of its own that has none; the plan itself where there are no arms."""
        if not self.arms:
            yield None, self
        for label, arm in self.arms.items():
            said = dict(arm)
            own = dict(_flat(f"arm {label}: options", said.pop("options", {})))
            options = {**self.options, **{_key(key): value for key, value in own.items()}}
            yield label or None, dataclasses.replace(self, **said, options=options, arms={})

    def budget(self) -> dict[str, Any]:
        """What it says of the budget."""
        return {name: getattr(self, name) for name in BUDGET if getattr(self, name) is not None}

    def to_dict(self) -> dict[str, Any]:
        """What differs from the default, as plain data that JSON, YAML and TOML can hold; `from_dict` reads it."""
        said = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        plain = {name: _plain(value) for name, value in said.items() if value != getattr(_DEFAULT, name)}
        return plain | ({"seeds": list(self.seeds)} if "seeds" in plain else {})

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Plan:
        """The plan of `to_dict`. Raises `OptionError` for what is none."""
        known = [one.name for one in dataclasses.fields(cls)]
        for name in _mapping("a plan", said):
            if name not in known:
                raise OptionError(f"a plan: {unknown_name(name, known)}")
        return cls(**said)


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise OptionError(f"{what} must be a table of names and values, got {reprlib.repr(value)}")
    return value


def _flat(what: str, value: Any) -> Iterator[tuple[str, Any]]:
    """`part.option` and value, also where a part's options are a table of their own."""
    for key, one in _mapping(what, value).items():
        if isinstance(one, Mapping) and one:
            yield from ((f"{key}.{rest}", inner) for rest, inner in _flat(f"{what} {key}", one))
        else:
            yield key, one


def _names(what: str, value: Any) -> tuple[str, ...]:
    names = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    if not all(isinstance(name, str) for name in names):
        raise OptionError(f"{what} must be names, got {reprlib.repr(value)}")
    return names


def _levels(factor: str, value: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The names of a factor's levels, and the options that come with one that is an object."""
    levels = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    words_alone = factor in ("preset", "resample") or any(isinstance(level, int | float | None) for level in levels)
    if words_alone and not all(isinstance(level, str) for level in levels):
        raise OptionError(f"{factor} must be a name or a list of names, got {reprlib.repr(value)}")
    named = [own.of_object(factor, level) for level in levels]
    options = {key: one for _, options in named for key, one in options.items()}
    if options and len(named) > 1:
        raise OptionError(f"{factor}: one object with options of its own stands alone; give the others as arms")
    return tuple(name for name, _ in named), options


def _key(key: str) -> str:
    if "." not in key:
        raise OptionError(f"options: {key!r} must be part.option, such as policy.T or trainer.lr")
    return key.replace("-", "_")


def _values(value: Any) -> tuple[Any, ...]:
    levels = tuple(value) if isinstance(value, list | tuple | range) else (value,)
    for level in levels:
        if level is not None and not isinstance(level, str | int | float | bool):
            raise OptionError(f"options: {reprlib.repr(level)} is not a number, a name, or yes or no")
    if not levels:
        raise OptionError("options: an option without a value; leave it out")
    return levels


def _seeds(value: Any) -> tuple[int, ...]:
    seeds = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not seeds or not all(isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 for seed in seeds):
        raise OptionError(f"seeds must be whole numbers from 0, one at least, got {reprlib.repr(value)}")
    return seeds


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return value


_DEFAULT = Plan()
