"""Progress bars on standard error: ten moves a second for somebody who watches, a line in ten seconds for a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress_bar(over: Iterable[Any] | None = None, **options: Any) -> tqdm:
    """`tqdm(over, **options)`, so."""
    return tqdm(over, file=sys.stderr, mininterval=0.1 if sys.stderr.isatty() else 10.0, **options)
