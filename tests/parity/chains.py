"""Noise schedules and DDPM chains of the released Diffusion-QL (`diffusion.json`)."""

from __future__ import annotations

import math
from typing import Any

import torch

from parity.recipe import R, error
from policies.samplers import ddpm, ddpm_coefficients, step
from policies.schedules import make_schedule


def chain_errors(content: dict[str, Any]) -> dict[str, float]:
    """Where numbers are compared -> relative error there."""
    errors = {}
    for key, fields in content["schedules"].items():
        name, T = key.split("/")
        schedule = make_schedule(name, int(T))
        errors |= {f"{key} {field}": error(getattr(schedule, field), golden) for field, golden in fields.items()}
    for golden in content["chain"]:
        where = f"chain {golden['schedule']}-{golden['T']}"
        first, last = chain_ends(golden["schedule"], golden["T"])
        errors |= {f"{where} first": error(first, golden["first"]), f"{where} last": error(last, golden["last"])}
    return errors


def chain_ends(name: str, T: int) -> tuple[torch.Tensor, torch.Tensor]:
    """x after the first step, and the action, of six chains with a noise model in closed form."""
    schedule, r = make_schedule(name, T), R(7)
    obs = torch.from_numpy(r.randn(6, 4))
    noise = torch.from_numpy(r.randn(T + 1, 6, 3))[None]

    def denoiser(x: torch.Tensor, t: int) -> torch.Tensor:
        return 0.3 * x + 0.1 * math.sin(t) + 0.05 * obs.mean(1, keepdim=True)

    x = noise[:, 0]
    first = step(denoiser(x, T - 1), x, noise[:, 1], ddpm_coefficients(schedule)[0].tolist())
    return first[0], ddpm(denoiser, schedule, noise)[0]
