"""Plan, run, load and ask: the testbed from Python. See docs/python.md.

from policy_ablation import Plan, load, run

results = run(Plan(policy=["diffusion", "gaussian"], bc_only=True, seeds=range(3)), out="runs/first")
policy = load("runs/first").policy("diffusion-bc", seed=0)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from policy_ablation import _parts

_parts.find()

if TYPE_CHECKING:
    from ablations.experiment.door import Results, load, run
    from ablations.plan.plan import Plan
    from ablations.run.trained import TrainedPolicy
    from core.options import OptionError

__all__ = ["OptionError", "Plan", "Results", "TrainedPolicy", "load", "run"]
#: name -> where it is; imported when it is asked for, so that `--version` need not wait for torch
_PLACES = {
    "OptionError": "core.options",
    "Plan": "ablations.plan.plan",
    "Results": "ablations.experiment.door",
    "TrainedPolicy": "ablations.run.trained",
    "load": "ablations.experiment.door",
    "run": "ablations.experiment.door",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
