"""Environments that data may ask for: registered ids of known packages, with checked keyword arguments.

A data set of Minari describes its environment in JSON. That description may name any function of any module, and
`gymnasium.make` would call it. So nothing of it is run: only the id, the keyword arguments and the time limit are read,
and the environment is made from gymnasium's own registry. A description that names code of its own is refused.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.options import OptionError, first_line
from tasks.simulators import PLUGINS, packages_for, quietly_imported
from tasks.validation import BadFile

#: where the code of registered environments is; PLUGINS register what gymnasium itself does not
PACKAGES = ("gymnasium", *PLUGINS)
ID = re.compile(r"[\w.-]{1,100}", re.ASCII)
#: how they are shown changes nothing that is learned or scored
OF_DISPLAY = ("render_mode", "width", "height", "camera_id", "camera_name", "default_camera_config", "max_geom")
#: which file of the machine a simulator reads is not for a data set to say
OF_FILES = ("xml_file", "model_path", "xml_file_path", "model", "fullpath", "data_path")
#: numbers and words in the keyword arguments, mazes included
LARGEST = 10_000
LONGEST_WORD = 100


@dataclass(frozen=True)
class Described:
    """An environment as data describe it, checked: a registered id, keyword arguments, and its time limit if any."""

    env_id: str
    limit: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    #: module that registers it; None where gymnasium does
    plugin: str | None = None
    #: of the registry: the class that makes it, and the time limit it has there
    entry_point: str = ""
    #: all keyword arguments, the registry's defaults too
    arguments: Mapping[str, Any] = field(default_factory=dict)
    registered_limit: int | None = None


def read(source: str, text: Any) -> Described:
    """The environment that a JSON description of gymnasium's means. Raises `BadFile` for what is not allowed.

    `source`: file and key, for the message.
    """
    told = _parsed(source, text)
    env_id = told.get("id")
    if not isinstance(env_id, str) or not ID.fullmatch(env_id):
        raise BadFile(f"{source}: id {_shown(env_id)} is no id of a registered environment, as Hopper-v5 is")
    registered, plugin = _registered(source, env_id)
    _refuse_code(source, told)
    limit = told.get("max_episode_steps")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise BadFile(f"{source}: max_episode_steps is {_shown(limit)}; expected a whole number from 1, or null")
    options = told.get("kwargs") or {}
    if not isinstance(options, dict):
        raise BadFile(f"{source}: kwargs is {_shown(options)}; expected keyword arguments by name")
    checked = dict(_checked(source, options, registered))
    arguments = {**registered.kwargs, **checked}
    return Described(env_id, limit, checked, plugin, registered.entry_point, arguments, registered.max_episode_steps)


def _parsed(source: str, text: Any) -> dict[str, Any]:
    try:
        told = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError) as error:
        raise BadFile(f"{source}: is not JSON ({first_line(error)}); expected a description of gymnasium's") from None
    if not isinstance(told, dict):
        raise BadFile(f"{source}: is {_shown(told)}; expected a description of an environment by gymnasium")
    return told


def _refuse_code(source: str, told: Mapping[str, Any]) -> None:
    """Code that a description names is not run; where it is not the code of a known package it is not what it says."""
    for key in ("entry_point", "vector_entry_point"):
        named = told.get(key)
        if named is not None and not (isinstance(named, str) and _of_known_package(named)):
            raise BadFile(
                f"{source}: {key} is {_shown(named)}; data may name registered environments of "
                f"{_known()}, and no code (SECURITY.md)"
            )
    if told.get("additional_wrappers"):
        raise BadFile(f"{source}: additional_wrappers name code; data may name registered environments alone")


def _of_known_package(entry_point: str) -> bool:
    module = entry_point.partition(":")[0]
    return any(module == package or module.startswith(f"{package}.") for package in PACKAGES)


def _registered(source: str, env_id: str) -> tuple[Any, str | None]:
    """The registry's own entry and the module that made it."""
    with packages_for(env_id):
        import gymnasium
    for plugin in (None, *PLUGINS):
        _register(plugin)
        if env_id in gymnasium.registry:
            break
    else:
        raise BadFile(f"{source}: {_shown(env_id)} is no registered environment of {_known()}")
    entry = gymnasium.registry[env_id]
    if not (isinstance(entry.entry_point, str) and _of_known_package(entry.entry_point)):
        raise BadFile(f"{source}: {_shown(env_id)} is registered here by another package than {_known()}")
    return entry, next((plugin for plugin in PLUGINS if entry.entry_point.startswith(f"{plugin}.")), None)


def _register(plugin: str | None) -> None:
    """Import what registers a package's environments, where it is installed."""
    if plugin is None:
        return
    import gymnasium

    try:
        module = quietly_imported(plugin)
    except ImportError:
        return
    if plugin == "gymnasium_robotics":
        gymnasium.register_envs(module)


def _checked(source: str, options: Mapping[str, Any], registered: Any) -> Iterator[tuple[str, Any]]:
    """The keyword arguments that matter, each a parameter of the environment and plain data."""
    accepted = _parameters(registered.entry_point) | set(registered.kwargs)
    for name, value in options.items():
        if name in OF_DISPLAY:
            continue
        same = name in registered.kwargs and registered.kwargs[name] == value
        if name in OF_FILES and not same and value is not None:
            raise BadFile(f"{source}: {name}={_shown(value)} names a file to read; data may not")
        if name not in accepted:
            takes = ", ".join(sorted(accepted - {*OF_DISPLAY, *OF_FILES}))
            raise BadFile(f"{source}: {registered.id} takes no {_shown(name)}; it takes {takes or 'nothing'}")
        _refuse_odd(source, name, value)
        if not same:
            yield name, value


def _parameters(entry_point: str) -> set[str]:
    """Names of what the constructors of an environment take, those of its base classes too."""
    from gymnasium.envs.registration import load_env_creator

    maker = load_env_creator(entry_point)
    makers = (
        [vars(base).get("__init__", object.__init__) for base in maker.__mro__] if isinstance(maker, type) else [maker]
    )
    names = {
        parameter.name
        for made in makers
        for parameter in inspect.signature(made).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return names - {"self"}


def _refuse_odd(source: str, name: str, value: Any) -> None:
    """Plain data of a sane size: numbers, words that are no paths, and lists and mappings of these."""
    left, seen = [value], 0
    while left:
        item, seen = left.pop(), seen + 1
        if seen > LARGEST:
            raise BadFile(f"{source}: {name} holds more than {LARGEST} values")
        if isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            left += item
        elif isinstance(item, str) and (len(item) > LONGEST_WORD or re.search(r"[/\\:\x00]|\.\.", item)):
            raise BadFile(f"{source}: {name} holds {_shown(item)}; expected a word, no path and no code")
        elif isinstance(item, float) and not math.isfinite(item):
            raise BadFile(f"{source}: {name} holds {item}; expected finite numbers")
        elif item is not None and not isinstance(item, str | int | float | bool):
            raise BadFile(f"{source}: {name} holds {_shown(item)}; expected plain data")


def made(described: Described, limit: int) -> Any:
    """The environment. Raises `OptionError` where its package is missing or its arguments do not fit."""
    with packages_for(described.env_id):
        import gymnasium
    _register(described.plugin)
    try:
        return gymnasium.make(described.env_id, max_episode_steps=limit, disable_env_checker=True, **described.options)
    except Exception as error:  # what a constructor raises about its arguments depends on the environment
        raise OptionError(f"{described.env_id}: its environment cannot be made ({first_line(error)})") from None


def _known() -> str:
    return f"gymnasium, {' or '.join(dict.fromkeys(PLUGINS.values()))}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
