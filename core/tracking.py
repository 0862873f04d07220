"""Whose parameters a loss is not to reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def untracked(*modules: object) -> Iterator[None]:
    """Within, the parameters of those of `modules` that are modules take no gradient: they are not to be stepped."""
    parameters = [p for m in modules if isinstance(m, nn.Module) for p in m.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
