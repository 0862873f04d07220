"""Which parts can work together, and why not: one sentence for each impossible combination, known before training.

Parts state what they can do and what they need as types and class variables; nothing is discovered by trying.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ablations.views import View
from policies import POLICIES, ModalPolicy, Policy
from trainers.trainer import Parts


def refusal(names: Mapping[str, str], parts: Parts, views: Sequence[View]) -> str | None:
    """Why these parts cannot work together, in one sentence with the alternatives; None where they can."""
    built = parts.policy.builds
    policy = names["policy"]
    if parts.improvement.needs_reparameterised and not parts.policy.reparameterised:
        return (
            f"improvement {names['improvement']} differentiates through samples, and those of policy {policy} "
            f"pass no gradient as configured; use --bc-only, or --policy {_able(lambda p: p.reparameterised)}"
        )
    for view in views:
        if view.selection.needs_mode and not issubclass(built, ModalPolicy):
            return (
                f"selection {view.selection_label} needs a policy with a mode, which {policy} has not; "
                f"use --selection one, or --policy {_able(lambda p: issubclass(p, ModalPolicy))}"
            )
    return None


def _able(can: Callable[[type[Policy]], bool]) -> str:
    return " or ".join(name for name, config in POLICIES.items() if can(config.builds))
