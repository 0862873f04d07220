"""The process's one switch for compiled kernels: off, every function runs as it is written.

On the CPU the kernels are those of core/native.py, which need a C++ compiler; on a GPU, functions marked `fusable` go
through `torch.compile`. Results differ by rounding only. With precision bf16 the factors of matrix products are
rounded to bfloat16: by the compiled functions, by torch's autocast elsewhere. Parameters, what the optimizer keeps and
averages stay as they are.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

from core import native
from core.native import NoCompiler
from core.options import first_line

PRECISIONS = ("float32", "bf16")

#: of one compiled function
VERSIONS = 1024
#: how torch.compile is asked: for each size anew, as one version for all takes twice as long to make and is no faster
COMPILING: dict[str, Any] = {"fullgraph": True, "dynamic": False}

_on = _half = _replay = False


def fusable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Run a pure function of tensors compiled whenever fusion is on and its tensors are on a GPU."""
    compiled = torch.compile(function, **COMPILING)

    @functools.wraps(function)
    def run(first: torch.Tensor | list[torch.Tensor], *args: Any) -> Any:
        tensor = first if isinstance(first, torch.Tensor) else first[0]
        return compiled(first, *args) if _on and tensor.is_cuda else function(first, *args)

    return run


def fused() -> bool:
    """Whether fusion is on."""
    return _on


def replays() -> bool:
    """Whether a GPU's steps are to be recorded once and replayed (trainers/captured.py)."""
    return _replay


def precision() -> str:
    """In what matrix products round their factors."""
    return "bf16" if _half else "float32"


def ready() -> bool:
    """Whether fusion can be turned on for the CPU without compiling anything first."""
    return native.is_built(torch.float32)


def fuse(on: bool = True, precision: str = "float32", replay: bool | None = None) -> None:
    """Turn fusion on or off, and say to what products round and whether a GPU's steps are replayed (default: `on`).

    Raises `native.NoCompiler` if it cannot be turned on, and leaves it off.
    """
    global _on, _half, _replay
    half = precision == "bf16"
    by_kernels = on and half and native.has_half()
    if on and torch.cuda.is_available():
        allow_versions()
    if on:
        native.library(torch.float32, by_kernels)
        native.reuse_memory()
    _on, _half, native.half_products = on, half, by_kernels
    _replay = on if replay is None else replay


def _doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def try_out(device: torch.device) -> None:
    """Raises `NoCompiler` where torch.compile does not work on this GPU."""
    try:
        torch.compile(_doubled, **COMPILING)(torch.ones(2, device=device))
    except Exception as error:  # its backends raise what they like
        raise NoCompiler(first_line(error)) from None


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """Within, every function runs as it is written."""
    global _on
    was, _on = _on, False
    try:
        yield
    finally:
        _on = was


def allow_versions() -> None:
    """Let `torch.compile` make a version for every size that a study's classes and ways to act bring, not eight."""
    from torch._dynamo import config

    config.recompile_limit, config.accumulated_recompile_limit = VERSIONS, 8 * VERSIONS


def passes(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Around passes through networks on `device`: autocast to bfloat16, where that is asked and no kernel does it."""
    kernels = device.type == "cpu" and native.half_products
    # a cache of rounded weights would outlive the steps taken on them
    return torch.autocast(device.type, torch.bfloat16, enabled=_half and not kernels, cache_enabled=False)
