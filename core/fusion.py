"""The process's one switch for compiled kernels: off, every function runs as it is written.

`fusable` marks a pure function of tensors that is worth compiling. `fuse()` turns the compiled forms on, for the whole
process; results differ by rounding only. Needs a working compiler (g++ on the CPU).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

_on = False


def fusable(dynamic: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Run the function compiled whenever fusion is on; `dynamic`: one kernel for all sizes, not one for each."""

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        compiled = torch.compile(function, dynamic=dynamic, fullgraph=True)

        @functools.wraps(function)
        def run(*args: Any) -> Any:
            return compiled(*args) if _on else function(*args)

        return run

    return mark


def fused() -> bool:
    """Whether fusion is on."""
    return _on


def fuse(on: bool = True) -> None:
    """Turn fusion on or off. Raises what the compiler raises if it does not work, and leaves it off."""
    global _on
    if on and not _on:
        torch.compile(_probe)(torch.zeros(4))
    _on = on


def _probe(x: torch.Tensor) -> torch.Tensor:
    return x.exp() + 1
