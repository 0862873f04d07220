"""The parts a run is made of: their names, whose options are asked for in which section, and how each is built."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from core.networks import NetworkConfig
from core.options import OptionError, dashed
from critics import BACKUPS, CriticConfig
from policies import POLICIES
from tasks.transforms import TransformConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig

#: the parts chosen by name, and where each is looked up
CHOICES: dict[str, Mapping[str, type]] = {
    "policy": POLICIES,
    "regularizer": REGULARIZERS,
    "improvement": IMPROVEMENTS,
    "backup": BACKUPS,
}
#: the parts of which there is one
FIXED: dict[str, type] = {
    "critic": CriticConfig,
    "network": NetworkConfig,
    "trainer": TrainerConfig,
    "task": TransformConfig,
}
#: the parts whose networks may differ from `network`; the value of a backup is as the critic
OWN_NETWORKS = ("policy", "critic", "regularizer", "improvement")
DEFAULT_CHOICES = {"regularizer": "bc", "improvement": "q-max", "backup": "clipped-double-q", "selection": "one"}


def sections(names: Mapping[str, str], of_task: type = TransformConfig) -> Iterator[tuple[str, str, type]]:
    """(prefix, name, dataclass) of every configuration whose fields are options, nested ones after their owners.

    `of_task`: that of the task's own options.
    """
    for part, registry in CHOICES.items():
        yield from _with_nested(part, names[part], registry[names[part]], names)
    for part, config in {**FIXED, "task": of_task}.items():
        yield part, "", config
    for part in OWN_NETWORKS:
        yield f"{part}.network", "", NetworkConfig


def _with_nested(prefix: str, name: str, config: type, names: Mapping[str, str]) -> Iterator[tuple[str, str, type]]:
    yield prefix, name, config
    for field in dataclasses.fields(config):
        if field.metadata.get("nested"):
            key = f"{prefix}.{field.name}"
            inner = nested_name(key, field, names)
            yield from _with_nested(key, inner, POLICIES[inner], names)


def nested_name(key: str, field: dataclasses.Field, names: Mapping[str, str]) -> str:
    """The policy class chosen for a nested field, by default that of the field's default."""
    chosen = names.get(key) or field.metadata["name"]
    return chosen or next(name for name, config in POLICIES.items() if isinstance(field.default, config))


def nested_defaults(per_policy: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The nested fields of the chosen parts, each with the name of the policy class it holds by default."""
    found = {}
    for names in per_policy:
        for prefix, _, config in sections(names):
            for field in dataclasses.fields(config):
                if field.metadata.get("nested"):
                    key = f"{prefix}.{field.name}"
                    found[key] = nested_name(key, field, {})
    return found


def build_part(
    prefix: str, config: type, names: Mapping[str, str], options: Mapping[str, Any], of_task: Mapping[str, Any]
) -> Any:
    """The configuration at `prefix`; a nested policy also takes what the task sets for policies."""
    values = {}
    for field in dataclasses.fields(config):
        key, shared = f"{prefix}.{field.name}", f"policy.{field.name}"
        if field.metadata.get("nested"):
            values[field.name] = build_part(key, POLICIES[nested_name(key, field, names)], names, options, of_task)
        elif key in options:
            values[field.name] = options[key]
        elif "." in prefix and shared in of_task:
            values[field.name] = of_task[shared]
    try:
        return config(**values)
    except OptionError as error:
        raise OptionError(f"--{prefix}.{dashed(error)}") from None


def build_networks(options: Mapping[str, Any]) -> dict[str, NetworkConfig]:
    """The networks of their own that parts have: `network`, with what `PART.network.OPTION` says of them instead."""
    found = {}
    for part in OWN_NETWORKS:
        own = {key: value for key, value in options.items() if key.startswith(f"{part}.network.")}
        if own:
            fields = [field.name for field in dataclasses.fields(NetworkConfig)]
            shared = {
                f"{part}.network.{name}": options[f"network.{name}"] for name in fields if f"network.{name}" in options
            }
            found[part] = build_part(f"{part}.network", NetworkConfig, {}, {**shared, **own}, {})
    return found
