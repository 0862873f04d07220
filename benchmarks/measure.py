"""Timing contenders in turn, round after round, so that whatever else the machine does meets them all alike."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

Steps = Callable[[int], object]


def interleaved(
    contenders: Mapping[str, Steps], rounds: int, seconds: float, device: torch.device
) -> dict[str, np.ndarray]:
    """Steps per second of each contender in each of `rounds` rounds, each turn lasting about `seconds`."""
    counts = {name: _calibrate(take, seconds, device) for name, take in contenders.items()}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, take in contenders.items():
            rates[name].append(counts[name] / _time(take, counts[name], device))
    return {name: np.array(values) for name, values in rates.items()}


def _calibrate(take: Steps, seconds: float, device: torch.device) -> int:
    # on a GPU, till every kind of step that comes by is recorded (trainers/captured.py)
    _time(take, 30 if device.type == "cuda" else 2, device)
    count = 1
    while (took := _time(take, count, device)) < seconds / 8:
        count *= 4
    return max(1, round(count * seconds / max(took, 1e-5)))


def _time(take: Steps, count: int, device: torch.device) -> float:
    _wait(device)
    began = time.perf_counter()
    take(count)
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def quartiles(values: np.ndarray) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, middle, high = np.percentile(values, [25, 50, 75])
    return float(middle), float(low), float(high)


def matrix_rate(device: torch.device, dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """The fastest matrix product seen here, in FLOP per second: the roofline of work that is all products."""
    a = torch.randn(size, size, device=device, dtype=dtype, generator=torch.Generator(device).manual_seed(0))

    def take(count: int) -> None:
        for _ in range(count):
            a @ a

    return 2 * size**3 / min(_time(take, 2, device) / 2 for _ in range(8))


def flops(take: Steps) -> int:
    """The FLOP of one step's matrix products, forward and backward. Fusion must be off: only torch's are counted."""
    with FlopCounterMode(display=False) as counter:
        take(1)
    return counter.get_total_flops()


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """The most bytes that `work` held at any time beyond those in use before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    # hand freed memory back, or it would be used again uncounted; then let the kernel's high-water mark start anew
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    work()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))
