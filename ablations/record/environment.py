"""Where a run is made: command, versions, revision and hardware, for its record."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "pandas", "scipy", "seaborn")


def environment() -> dict[str, Any]:
    """What the numbers may depend on besides the configuration."""
    return {
        "command": " ".join(sys.argv),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "git": _git_revision(),
        "machine": platform.machine(),
        "system": platform.system(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


@functools.cache
def _git_revision() -> str | None:
    """The revision of the code when first asked, with a + where the code has changes; None outside a checkout."""
    here = Path(__file__).resolve().parents[2]
    try:
        if Path(_git(here, "rev-parse", "--show-toplevel")).resolve() != here:
            # installed, below somebody's own checkout
            return None
        revision = _git(here, "rev-parse", "--short=12", "HEAD")
        return revision + ("+" if _git(here, "status", "--porcelain", "-uno", "--", "*.py", "*.cpp") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(checkout: Path, *arguments: str) -> str:
    call = ["git", "-C", str(checkout), *arguments]
    return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
