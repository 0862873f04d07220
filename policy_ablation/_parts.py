"""Where the testbed's packages are: beside this one in a checkout, below it where it was installed.

They have plain names (`core`, `tasks`, ...), which a reader's own folder may have too. So only these names are looked
up here, and nothing else is put on the path.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

PACKAGES = ("core", "policies", "critics", "trainers", "tasks", "ablations")
_HERE = Path(__file__).resolve().parent
ROOT = _HERE / "parts" if (_HERE / "parts").is_dir() else _HERE.parent


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return PathFinder.find_spec(name, [str(ROOT)], target) if name in PACKAGES else None


def find() -> None:
    """Make the packages importable. Raises `ImportError` where another one of such a name was imported before."""
    for name in PACKAGES:
        there = getattr(sys.modules.get(name), "__file__", None)
        if name in sys.modules and (there is None or ROOT not in Path(there).resolve().parents):
            raise ImportError(f"policy_ablation: another module named {name} is imported already, {there}; rename it")
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    # before torch starts its threads: idle ones that spin make a shared machine several times slower
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
