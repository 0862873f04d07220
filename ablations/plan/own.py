"""Parts of a user's own, by `module:Class` or as an object, known beside the built-in ones once they were named.

Only a command line and Python code name modules to import. A file (a record, a plan) may name what was named before,
so that reading one never imports anything.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import MutableMapping
from typing import Any, cast

from ablations.plan.parts import CHOICES
from core.options import OptionError, first_line
from critics.backups import BackupConfig
from policies.base import PolicyConfig
from tasks import TASKS
from tasks.base import Task
from trainers import SELECTIONS
from trainers.penalty import RegularizerConfig
from trainers.selection import Selection
from trainers.terms import Improvement

#: kind of part -> what its class derives from
BASES: dict[str, type] = {
    "policy": PolicyConfig,
    "regularizer": RegularizerConfig,
    "improvement": Improvement,
    "backup": BackupConfig,
    "selection": Selection,
    "task": Task,
}
#: prefixes of the testbed's own tasks
FAMILIES = ("bandit", "local", "ogbench", "minari", "file")


def register(kind: str, part: type) -> str:
    """Make a class known as `module:Class`, and return that name. Raises `OptionError` for what is no such part."""
    if not isinstance(part, type) or not issubclass(part, BASES[kind]):
        raise OptionError(f"{kind}: {part!r} is not a class that derives from {_of(BASES[kind])}")
    if kind != "task" and not dataclasses.is_dataclass(part):
        raise OptionError(f"{kind}: {_of(part)} is not a dataclass; put @dataclass(frozen=True) above it")
    name = f"{part.__module__}:{part.__qualname__}"
    _registry(kind)[name] = part
    return name


def named(kind: str, name: str) -> str:
    """The name of a part as a command line gives it; `module:Class` is imported, from the working directory too.

    Raises `OptionError` where that cannot be.
    """
    module, colon, attribute = name.partition(":")
    if (
        not colon
        or name in _registry(kind)
        or module in FAMILIES
        or not all(piece.isidentifier() for piece in module.split("."))
    ):
        return name
    sys.path.insert(0, os.getcwd())
    try:
        part = getattr(importlib.import_module(module), attribute, None)
    except Exception as error:  # whatever the module does when it is imported
        raise OptionError(
            f"--{kind} {name}: {module} cannot be imported: {type(error).__name__}: {first_line(error)}"
        ) from None
    finally:
        sys.path.remove(os.getcwd())
    if part is None:
        raise OptionError(f"--{kind} {name}: module {module} has no {attribute or 'name after the colon'}")
    return register(kind, part)


def of_object(kind: str, part: Any) -> tuple[str, dict[str, Any]]:
    """The name of a class or an instance, and the options in which the instance differs from its class's defaults."""
    if isinstance(part, str):
        return part, {}
    if isinstance(part, type):
        return _known(kind, part), {}
    name = _known(kind, type(part))
    options: dict[str, Any] = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if "nested" in field.metadata and value is not None:
            inner, own = of_object("policy", value)
            options |= {f"{kind}.{field.name}": inner}
            options |= {f"{kind}.{field.name}.{key.partition('.')[2]}": one for key, one in own.items()}
        elif value != field.default:
            options[f"{kind}.{field.name}"] = value
    return name, options


def _known(kind: str, part: type) -> str:
    """The name of a class, a built-in one's own."""
    return next((name for name, known in _registry(kind).items() if known is part), None) or register(kind, part)


def _registry(kind: str) -> MutableMapping[str, type]:
    of_kind = {**CHOICES, "selection": SELECTIONS, "task": TASKS}[kind]
    return cast(MutableMapping[str, type], of_kind)


def _of(part: type) -> str:
    return f"{part.__module__}.{part.__qualname__}"
