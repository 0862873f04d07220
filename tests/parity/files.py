"""Golden files: which method each is of, and the worst relative error of replaying it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parity.chains import chain_errors
from parity.methods import METHODS
from parity.recipe import Unreadable


def errors_of(path: Path) -> dict[str, float]:
    """Where numbers are compared -> relative error there. Raises `Unreadable`."""
    method = method_of(path)
    try:
        content: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read as JSON ({error})") from None
    if method == "diffusion":
        return chain_errors(content)
    cases = content if isinstance(content, list) else [content]
    try:
        return {
            f"case {number}, {where}": error
            for number, case in enumerate(cases)
            for where, error in METHODS[method](case).replay().items()
        }
    except KeyError as error:
        raise Unreadable(f"{path}: the recipe of {method} needs {error}, which is not there") from None
    except Unreadable as error:
        raise Unreadable(f"{path}: {error}") from None


def method_of(path: Path) -> str:
    """The method that a file's name begins with, the longest that does."""
    known = sorted([*METHODS, "diffusion"], key=len, reverse=True)
    stem = path.stem.lower().replace("-", "_")
    for name in known:
        if stem.startswith(name):
            return name
    raise Unreadable(f"{path}: its name begins with no method; known are {', '.join(sorted(known))}")
