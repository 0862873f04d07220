"""A behaviour policy of your own as a Python object: `bandit:NAME` after `register(NAME, object, ...)`.

The object has `sample(contexts, generator)`, `[n, O] -> [n, A]` in [-1, 1], and optionally `log_prob(contexts,
actions)`, `[n]`, normalised over the box, and `contexts(n, generator)`, `[n, O]`. Tensors are float64.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from core.options import OptionError, option
from tasks.behaviours import BEHAVIOURS
from tasks.behaviours.base import SILENT, Behaviour
from tasks.behaviours.config import REWARD_HELP, BehaviourConfig

#: draws looked at before an object is taken
TRIED = 1000


class Given(Behaviour):
    """The object as a behaviour; where its modes and its support are is not known of it."""

    def __init__(self, name: str, given: Any, act_dim: int, obs_dim: int):
        self.name, self.given = name, given
        self.act_dim, self.obs_dim = act_dim, obs_dim
        self.conditional = hasattr(given, "contexts")  # type: ignore[misc]
        self.has_density = hasattr(given, "log_prob")  # type: ignore[misc]

    def contexts(self, count: int, generator: torch.Generator) -> Tensor:
        if not self.conditional:
            return super().contexts(count, generator)
        return self._checked("contexts", self.given.contexts(count, generator), (count, self.obs_dim))

    def sample(self, obs: Tensor, generator: torch.Generator) -> Tensor:
        act = self._checked("sample", self.given.sample(obs, generator), (len(obs), self.act_dim))
        if not (act.abs() <= 1).all():
            raise OptionError(
                f"bandit:{self.name}: sample gave {float(act.abs().max()):g}; expected actions in [-1, 1]"
            )
        return act

    def log_prob(self, obs: Tensor, act: Tensor) -> Tensor:
        logs = self.given.log_prob(obs, act)
        return self._checked("log_prob", logs, (len(act),), lowest=-math.inf)

    def _checked(self, what: str, found: Any, shape: tuple[int, ...], lowest: float | None = None) -> Tensor:
        if not isinstance(found, Tensor) or found.shape != shape:
            got = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(f"bandit:{self.name}: {what} gave {got}; expected a tensor of shape {shape}")
        bad = ~found.isfinite() if lowest is None else ~(found < math.inf)
        if bad.any():
            raise OptionError(f"bandit:{self.name}: {what} gave {float(found[bad][0])}; expected finite numbers")
        return found.double()

    def value(self, obs: Tensor, act: Tensor) -> Tensor:
        raise NotImplementedError

    def distance(self, obs: Tensor, act: Tensor) -> Tensor:
        raise NotImplementedError

    def rarest(self, obs: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class GivenConfig(BehaviourConfig):
    """A behaviour registered in this process."""

    reward: str = option("linear", REWARD_HELP, choices=("linear", "quadratic"))
    given: ClassVar[Given]

    def build(self) -> Given:
        return self.given


def register(name: str, given: Any, act_dim: int, obs_dim: int = SILENT) -> None:
    """Make `bandit:NAME` of an object, for this process.

    Raises `OptionError` for a name that is taken or is none, and for an object whose draws or density cannot be used.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise OptionError(f"bandit:{name}: a name has letters, digits, - and _; got {name!r}")
    if name in BEHAVIOURS and not issubclass(BEHAVIOURS[name], GivenConfig):
        raise OptionError(f"bandit:{name}: is one of the testbed's own; choose another name")
    if not callable(getattr(given, "sample", None)):
        raise OptionError(f"bandit:{name}: {type(given).__name__} has no sample(contexts, generator)")
    behaviour, generator = Given(name, given, act_dim, obs_dim), torch.Generator().manual_seed(0)
    obs = behaviour.contexts(TRIED, generator)
    act = behaviour.sample(obs, generator)
    if (act == act[0]).all():
        raise OptionError(f"bandit:{name}: sample gave one point {TRIED} times; expected actions that differ")
    if behaviour.has_density and behaviour.log_prob(obs, act).isneginf().any():
        raise OptionError(f"bandit:{name}: log_prob is -inf at an action that sample gave; expected its own density")
    documented = (type(given).__doc__ or "Registered in this process.").strip()
    BEHAVIOURS[name] = type("Registered", (GivenConfig,), {"given": behaviour, "__doc__": documented})
