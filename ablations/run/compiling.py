"""Whether the training step is compiled, which costs seconds and is earned back in long runs only."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ablations.plan.config import RunConfig
from core import fusion, native
from core.options import OptionError

#: steps from which building the kernels, some five seconds once on a machine, is earned back
WORTH_BUILDING = 500
#: steps of one run from which compiling for a GPU, some thirty seconds for a class's sizes, is earned back
WORTH_COMPILING = 50_000


def fuse_if_it_pays(choice: str, runs: Sequence[RunConfig], device: torch.device) -> str | None:
    """Set compiling as asked: auto does where it is done already, or the run is long enough, or for bf16.

    A GPU's steps are replayed unless the choice is off. Returns one line to show where a compiler was wanted and there
    is none. On the CPU only the kernels have bf16, so asking for it without them raises `OptionError`.
    """
    precision = runs[0].precision
    half = precision == "bf16"
    needed = half and device.type == "cpu"
    if needed and (choice == "off" or not native.has_half()):
        why = "needs --compile" if choice == "off" else "needs a processor with avx512_bf16 instructions"
        raise OptionError(f"--precision bf16: {why} on the CPU; use float32")
    fusion.fuse(False, precision, replay=choice != "off")
    if choice == "off" or (choice == "auto" and not (half or _compiling_pays(runs, device))):
        return None
    try:
        if device.type == "cuda":
            fusion.try_out(device)
        fusion.fuse(True, precision)
    except fusion.NoCompiler as error:
        if needed:
            raise OptionError(f"--precision bf16: no working C++ compiler ({error}); use float32") from None
        slower = ", several times slower" if device.type == "cpu" else ""
        return f"no working C++ compiler ({error}): training runs uncompiled{slower}"
    return None


def _compiling_pays(runs: Sequence[RunConfig], device: torch.device) -> bool:
    steps = [run.budget.steps for run in runs]
    if device.type == "cpu":
        return fusion.ready() or sum(steps) >= WORTH_BUILDING
    # every class and size is compiled for itself
    return max(steps) >= WORTH_COMPILING
