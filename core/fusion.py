"""The process's one switch for compiled kernels: off, every function runs as it is written.

On the CPU the kernels are those of core/native.py, which need a C++ compiler; on a GPU, functions marked `fusable` go
through `torch.compile`. Results differ by rounding only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from core import native
from core.native import NoCompiler

__all__ = ["NoCompiler", "fusable", "fuse", "fused", "ready"]

_on = False


def fusable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a pure function of tensors compiled whenever fusion is on and its tensors are on a GPU."""
    compiled = torch.compile(function, fullgraph=True)

    @functools.wraps(function)
    def run(first: torch.Tensor, *args: Any) -> Any:
        return compiled(first, *args) if _on and first.is_cuda else function(first, *args)

    return run


def fused() -> bool:
    """Whether fusion is on."""
    return _on


def ready(device: torch.device) -> bool:
    """Whether fusion can be turned on without compiling anything first."""
    return device.type == "cpu" and native.is_built(torch.float32)


def fuse(on: bool = True) -> None:
    """Turn fusion on or off. Raises `native.NoCompiler` if it cannot be turned on, and leaves it off."""
    global _on
    if on:
        native.library(torch.float32)
        native.reuse_memory()
    _on = on
