"""What may be asked of data of your own, and of data that may have no simulator."""

from __future__ import annotations

from dataclasses import dataclass

from core.options import option
from tasks.transforms import TransformConfig


@dataclass(frozen=True)
class DataConfig(TransformConfig):
    env: str | None = option(
        None, "evaluate in this environment: a registered id, my_module:make_env, or none (default: as the data say)"
    )
    held_out: float | None = option(
        None,
        "share of episodes kept apart from training, for evaluation (default: 0.1 without a simulator, else 0)",
        at_least=0,
        at_most=0.9,
    )
    fqe_steps: int | None = option(
        None,
        "steps of fitted Q evaluation at the end, 0 for none (default: 5000 without a simulator, else 0)",
        at_least=0,
    )


@dataclass(frozen=True)
class FileConfig(DataConfig):
    keys: str | None = option(
        None,
        "columns by field, observations=obs,actions=act; a+b joins, x_* is all such, rewards=none: there are none",
    )
    bounds: str | None = option(
        None,
        "of actions: LOW:HIGH of all columns (--task.bounds=-2:2), a pair for each, or data "
        "(default: the simulator's, else -1:1 where they lie in it, else from the data)",
    )
