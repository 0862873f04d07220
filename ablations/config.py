"""What a run is: a choice for each part with its options, checked for whether the parts can work together.

Options come from four places, later ones winning: the part's own defaults, the task's, and the command line's.
An option is named as on the command line without its dashes: `policy.T`, `trainer.batch`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.networks import NetworkConfig
from core.options import OptionError, Options, option
from critics import BACKUPS, CriticConfig
from policies import POLICIES, ModalPolicy
from tasks import TASKS
from trainers import IMPROVEMENTS, REGULARIZERS, SELECTIONS, TrainerConfig
from trainers.selection import Selection
from trainers.trainer import Parts

#: the parts chosen by name, and where each is looked up
CHOICES: dict[str, Mapping[str, type]] = {
    "policy": POLICIES,
    "regularizer": REGULARIZERS,
    "improvement": IMPROVEMENTS,
    "backup": BACKUPS,
    "selection": SELECTIONS,
}
#: the parts of which there is one
FIXED: dict[str, type] = {"critic": CriticConfig, "network": NetworkConfig, "trainer": TrainerConfig}
DEFAULT_CHOICES = {"regularizer": "bc", "improvement": "q-max", "backup": "clipped-double-q", "selection": "one"}


@dataclass(frozen=True)
class Budget(Options):
    """How long to train and how often to look."""

    steps: int = option(1000, "training steps", at_least=1)
    eval_every: int | None = option(None, "steps between evaluations (default: one, at the end)", at_least=1)


@dataclass(frozen=True)
class RunConfig:
    """One method on one task over some seeds, complete: what `config.json` records."""

    task: str
    names: dict[str, str]
    parts: Parts
    selection: Selection
    trainer: TrainerConfig
    budget: Budget
    seeds: tuple[int, ...]

    @property
    def label(self) -> str:
        """A short name for directories and legends."""
        improvement = self.names["improvement"]
        return f"{self.names['policy']}-{'bc' if improvement == 'none' else improvement}"

    def record(self) -> dict[str, Any]:
        """Everything as plain data."""
        options = {
            **{part: dataclasses.asdict(getattr(self.parts, part)) for part in _fields(Parts)},
            "selection": dataclasses.asdict(self.selection),
            "trainer": dataclasses.asdict(self.trainer),
        }
        return {
            "label": self.label,
            "task": self.task,
            "names": self.names,
            "options": options,
            **dataclasses.asdict(self.budget),
            "seeds": list(self.seeds),
        }


def _fields(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def option_classes(names: Mapping[str, str]) -> dict[str, type]:
    """Part -> the dataclass whose fields are that part's options, for the parts chosen by these names."""
    return {**{part: CHOICES[part][name] for part, name in names.items()}, **FIXED}


def choose(task: str, chosen: Mapping[str, str]) -> dict[str, str]:
    """A name for each part: as chosen, else as the task has it, else the testbed's default."""
    from_task = {part: name for part, name in TASKS[task].defaults.items() if part in CHOICES}
    return {**DEFAULT_CHOICES, **from_task, **chosen}


def make_run(
    task: str, chosen: Mapping[str, str], given: Mapping[str, Any], seeds: tuple[int, ...], budget: Mapping[str, Any]
) -> RunConfig:
    """The complete run; `given` options override the task's. Raises `OptionError` where something cannot be."""
    names = choose(task, chosen)
    built = {}
    for part, config in option_classes(names).items():
        defaults = _of_part(TASKS[task].defaults, part, config)
        try:
            built[part] = config(**{**defaults, **_of_part(given, part, config)})
        except OptionError as error:
            raise OptionError(f"--{part}.{_dashed(error)}") from None
    try:
        steps = {**TASKS[task].default_budget(names), **budget}
        allowed = Budget(**steps)
    except OptionError as error:
        raise OptionError(f"--{_dashed(error)}") from None
    _refuse_impossible(names, built)
    parts = Parts(**{part: built[part] for part in _fields(Parts)})
    return RunConfig(task, names, parts, built["selection"], built["trainer"], allowed, seeds)


def _dashed(error: OptionError) -> str:
    """The message, with the option it starts with as it is written on the command line."""
    option, _, rest = str(error).partition(" ")
    return f"{option.replace('_', '-')} {rest}"


def _of_part(options: Mapping[str, Any], part: str, config: type) -> dict[str, Any]:
    """The options `part.field` of `options` that `config` has, without the prefix."""
    return {field: options[f"{part}.{field}"] for field in _fields(config) if f"{part}.{field}" in options}


def _refuse_impossible(names: Mapping[str, str], built: Mapping[str, Any]) -> None:
    policy, selection = names["policy"], names["selection"]
    if built["improvement"].needs_reparameterised and not built["policy"].builds.reparameterised:
        raise OptionError(
            f"improvement {names['improvement']} differentiates through samples, which policy {policy} cannot; "
            "use --improvement none"
        )
    if built["selection"].needs_mode and not issubclass(built["policy"].builds, ModalPolicy):
        able = [name for name, config in POLICIES.items() if issubclass(config.builds, ModalPolicy)]
        raise OptionError(
            f"selection {selection} needs a policy with a mode, which {policy} has not; "
            f"use --selection one, or --policy {' or '.join(able)}"
        )
