"""The CPU kernels of kernels.cpp: compiled on first use, kept in core/kernel_cache.py, called through their addresses.

A library is built for each scalar type with the machine's own C++ compiler (a few seconds, once for each version of the
source, the compiler and the machine) and shares torch's thread pool.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from core import kernel_cache

SOURCE = Path(__file__).with_name("kernels.cpp")
SCALARS = {torch.float32: ("float", ctypes.c_float), torch.float64: ("double", ctypes.c_double)}
MAX_DEPTH = 16
#: the kernels' arguments: p a pointer, n an integer, x a scalar
SIGNATURES = {
    "mlp_forward": "pnppp",
    "mlp_backward": "pnpppppp",
    "chain_forward": "pnxppppppp",
    "chain_backward": "pnxpppppppp",
    "adam": "nnnppppppxxxxxx",
}


class NoCompiler(RuntimeError):
    """The kernels could not be built here; the message says why."""


@functools.cache
def library(dtype: torch.dtype, half: bool = False) -> ctypes.CDLL:
    """The kernels for tensors of `dtype`; `half`: with bfloat16 products. Raises `NoCompiler`."""
    command, key = _recipe(dtype, half)
    try:
        folder = kernel_cache.folder()
        built = kernel_cache.find(folder, key) or _build(command, folder, key)
    except (OSError, RuntimeError) as error:
        raise NoCompiler(str(error)) from None
    try:
        loaded = ctypes.CDLL(str(built))
    except OSError as error:
        # built anew the next time, should that help
        built.unlink(missing_ok=True)
        raise NoCompiler(f"its library does not load: {error}") from None
    for name, kinds in SIGNATURES.items():
        kernel = getattr(loaded, name)
        kernel.argtypes = [{"p": ctypes.c_void_p, "n": ctypes.c_long, "x": SCALARS[dtype][1]}[k] for k in kinds]
        kernel.restype = None
    return loaded


def has_half() -> bool:
    """Whether this processor multiplies bfloat16."""
    return "avx512_bf16" in _processor()


def is_built(dtype: torch.dtype) -> bool:
    """Whether `library` has nothing to compile."""
    try:
        return kernel_cache.find(kernel_cache.folder(), _recipe(dtype, False)[1]) is not None
    except (NoCompiler, OSError, RuntimeError):
        return False


def _recipe(dtype: torch.dtype, half: bool) -> tuple[list[str], str]:
    """The compiler's command, and the name of all that its output depends on."""
    named = shlex.split(os.environ.get("CXX", ""))
    compiler = named or [name for name in ("g++", "c++") if shutil.which(name)][:1]
    if not compiler or shutil.which(compiler[0]) is None:
        raise NoCompiler(f"CXX is {named[0]}, which is not there" if named else "none found")
    # torch's own OpenMP runtime, so that there is one pool of threads and not two
    runtime = [str(path) for path in (Path(torch.__file__).parent / "lib").glob("libgomp*.so*")][:1]
    command = [*compiler, "-O3", "-march=native", "-fno-math-errno", "-std=c++17", "-fPIC", "-shared", "-fopenmp"]
    command += [f"-DT={SCALARS[dtype][0]}", *["-DHALF"] * half, str(SOURCE), *runtime]
    try:
        version = subprocess.run([*compiler, "--version"], capture_output=True, text=True, errors="replace").stdout
    except OSError as error:
        raise NoCompiler(str(error)) from None
    machine = platform.machine() + _processor()
    key = hashlib.sha256("\n".join([*command, version, machine, SOURCE.read_text()]).encode()).hexdigest()[:20]
    return command, f"kernels-{key}"


def _processor() -> str:
    """What tells one processor from another that would need other instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _build(command: list[str], folder: Path, key: str) -> Path:
    with kernel_cache.workplace(folder) as place:
        out = place / "kernels.so"
        done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise NoCompiler((done.stderr.strip().splitlines() or ["the compiler failed"])[-1])
        return kernel_cache.keep(out, folder, key)


class _Net(ctypes.Structure):
    _fields_ = [(name, ctypes.c_long) for name in ("lead", "rows", "in", "hidden", "depth", "out", "blocks", "threads")]
    _fields_ += [("weights", ctypes.c_void_p), ("biases", ctypes.c_void_p)]


def pointers(tensors: Sequence[Tensor]) -> ctypes.Array:
    """The addresses of contiguous tensors, as a C array."""
    return (ctypes.c_void_p * len(tensors))(*[tensor.data_ptr() for tensor in tensors])


def pieces(lead: int, threads: int) -> int:
    """Into how many blocks of rows to cut each of `lead` replicas, so that `threads` threads are done together."""
    fits = (p for p in range(1, threads + 1) if math.ceil(lead * p / threads) * threads <= 1.1 * lead * p)
    return next(fits, threads)


#: whether products of float32 tensors are of bfloat16; core/fusion.py sets it
half_products = False


def _loaded(dtype: torch.dtype) -> ctypes.CDLL:
    return library(dtype, half_products and dtype is torch.float32)


def call(name: str, rows: int, weights: Sequence[Tensor], biases: Sequence[Tensor], *arguments) -> None:
    """Run a kernel on the network of these parameters (`[*lead, in, out]`, `[*lead, out]`) and `rows` rows for each."""
    *leading, inputs, hidden = weights[0].shape
    lead, threads = math.prod(leading), torch.get_num_threads()
    shape = (lead, rows, inputs, hidden, len(weights) - 1, weights[-1].shape[-1], pieces(lead, threads), threads)
    w, b = pointers(weights), pointers(biases)
    net = _Net(*shape, ctypes.addressof(w), ctypes.addressof(b))
    given = [argument.data_ptr() if isinstance(argument, Tensor) else argument for argument in arguments]
    getattr(_loaded(weights[0].dtype), name)(ctypes.byref(net), *given)


def adam(lists: Sequence[Sequence[Tensor]], norms: Tensor, *scalars: float) -> None:
    """The kernel `adam` on parameters, gradients, means and squares `[lead, ...]`, with its scalars."""
    lead = len(norms)
    sizes = (ctypes.c_long * len(lists[0]))(*[p.numel() // lead for p in lists[0]])
    arrays = [pointers(tensors) for tensors in lists]
    threads = torch.get_num_threads()
    _loaded(norms.dtype).adam(len(sizes), lead, threads, sizes, *arrays, norms.data_ptr(), *scalars)


def reuse_memory() -> None:
    """Let the C library keep freed memory, so that a step's large tensors are not mapped anew each time."""
    if hasattr(libc := ctypes.CDLL(None), "mallopt"):
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)


def padded(width: int, dtype: torch.dtype) -> int:
    """`width` rounded up to whole vectors, as the kernels lay out a row."""
    lanes = ctypes.c_long.in_dll(_loaded(dtype), "lanes").value
    return -(-width // lanes) * lanes
