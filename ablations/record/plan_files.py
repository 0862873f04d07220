"""Plans in files: TOML, YAML or JSON. What runs have left is one too, since every record is a recipe."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ablations.plan.plan import Plan
from ablations.record import recipe
from ablations.record.integrity import beside, content
from core.options import OptionError, first_line

#: bytes; what is larger is no plan
LARGEST = 2**22


def read(path: Path) -> Plan:
    """The plan that a file holds, or a directory of results. Raises `OptionError` for what is none, in one line."""
    if path.is_dir():
        return recipe.plan_of(path, "--config")
    said = _parsed(path)
    try:
        if {"names", "views", "label"} <= said.keys():
            return recipe.plan_of_records([recipe.checked(said, path)])
        if set(said) <= {"study", "runs", "diverged", "checksum"} and "runs" in said:
            return recipe.plan_of(path.parent)
        return Plan.from_dict(said)
    except OptionError as error:
        raise OptionError(f"--config {path}: {error}") from None


def write(plan: Plan, path: Path) -> None:
    """Write a plan. Raises `OptionError` where there is a file already, or the format cannot hold it."""
    if path.exists() or path.is_symlink():
        raise OptionError(f"--save-config {path}: already exists; name a new file")
    written = _format(path, "--save-config", WRITERS)(plan.to_dict())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as partial:
            partial.write_text(written)
    except OSError as error:
        raise OptionError(f"--save-config {path}: cannot be written ({error.strerror})") from None


def _parsed(path: Path) -> dict[str, Any]:
    reader = _format(path, "--config", READERS)
    try:
        said = reader(content(path, LARGEST).decode())
    except OSError as error:
        raise OptionError(f"--config {path}: cannot be read ({error.strerror or first_line(error)})") from None
    except (ValueError, RecursionError) as error:
        raise OptionError(f"--config {path}: is not {path.suffix[1:].upper()} ({first_line(error)})") from None
    if not isinstance(said, dict) or not all(isinstance(key, str) for key in said):
        raise OptionError(f"--config {path}: is no plan; expected names and values, such as policy and steps")
    return said


def _format(path: Path, flag: str, formats: dict[str, Callable]) -> Callable:
    if path.suffix.lower() not in formats:
        raise OptionError(f"{flag} {path}: its name must end in {', '.join(formats)}")
    return formats[path.suffix.lower()]


def _read_yaml(text: str) -> Any:
    from ablations.record.plain_yaml import load

    return load(text)


def _write_yaml(said: dict[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(said, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def _write_toml(said: dict[str, Any]) -> str:
    import tomli_w

    try:
        return tomli_w.dumps(said)
    except TypeError:
        raise OptionError(
            "--save-config: TOML has no word for none, which the plan needs; write JSON or YAML"
        ) from None


def _write_json(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=2) + "\n"


READERS: dict[str, Callable[[str], Any]] = {
    ".toml": tomllib.loads,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": json.loads,
}
WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".toml": _write_toml,
    ".yaml": _write_yaml,
    ".yml": _write_yaml,
    ".json": _write_json,
}
