"""How much memory this machine still has."""

from __future__ import annotations

import os
from pathlib import Path


def free_bytes() -> int:
    """Bytes of memory that can still be had, with what the kernel would free for the asking."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
