"""Which device a command names."""

from __future__ import annotations

import torch

from core.options import OptionError


def chosen(name: str) -> torch.device:
    """The device that `--device NAME` means, one of several GPUs made the current one: steps are recorded there.

    Raises `OptionError` where it is none, or not here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError(f"--device: unknown {name!r}, choose from auto, cpu, cuda, cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"--device {name}: not here ({torch.cuda.device_count()} CUDA devices); use cpu or auto")
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device
