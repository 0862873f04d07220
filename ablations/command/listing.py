"""What there is and what combines: the text of `--list`, computed from the registries and the refusals themselves."""

from __future__ import annotations

import itertools
import sys

from ablations.plan.config import make_run
from ablations.plan.parts import CHOICES
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from ablations.plan.studies import STUDIES
from core.options import OptionError
from policies import PolicyConfig
from tasks.behaviours import BEHAVIOURS
from trainers import SELECTIONS


def listing() -> str:
    """All parts, presets and studies with a line each, and for each pair of kinds of part which combine and why not."""
    registries = {**CHOICES, "selection": SELECTIONS}
    blocks = [
        _block(f"--{part}", {n: _summary(config) for n, config in registry.items()})
        for part, registry in registries.items()
    ]
    blocks.append(_block("--task", {f"bandit:{name}": _summary(config) for name, config in BEHAVIOURS.items()}))
    blocks.append(_block("--preset", {name: f"{preset.paper}. {preset.note}" for name, preset in PRESETS.items()}))
    blocks.append(_block("--study", {name: study.question or "" for name, study in STUDIES.items()}))
    reasons: dict[str, int] = {}
    for across in ("improvement", "regularizer", "selection"):
        blocks.append(_matrix(across, list(registries[across]), reasons))
    blocks.append("Why not\n" + "\n".join(f"  {number:>2}  {reason}" for reason, number in reasons.items()))
    return "\n\n".join(blocks)


def why_not(names: dict[str, str], selection: str = "one", options: dict[str, object] | None = None) -> str | None:
    """Why these parts cannot be combined on the bandit, as the command line would say it; None where they can."""
    try:
        make_run(Request("bandit", names, options or {}, selections=[selection]))
    except OptionError as error:
        return str(error)
    return None


def _summary(config: type) -> str:
    """The first sentence of the documentation of a part; of a policy class, that of its module."""
    documented = sys.modules[config.__module__] if issubclass(config, PolicyConfig) else config
    text = (documented.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(text.split())


def _block(title: str, rows: dict[str, str]) -> str:
    width = max(map(len, rows))
    return f"{title}\n" + "\n".join(f"  {name:<{width}}  {text}" for name, text in rows.items())


def _matrix(across: str, columns: list[str], reasons: dict[str, int]) -> str:
    """Policy classes down; a + where the pair works with the other parts at their defaults, else a reason's number."""
    policies = list(CHOICES["policy"])
    width = max(map(len, policies))
    lines = [f"policy x {across}: + works, a number says why not", f"  {'':<{width}}  " + "  ".join(columns)]
    for policy in policies:
        cells = []
        for column in columns:
            reason = _pair(policy, across, column)
            if reason is None:
                mark = "+"
            else:
                general = reason.replace(f"which {policy} ", "which it ").replace(f"policy {policy} ", "the policy ")
                mark = str(reasons.setdefault(general, len(reasons) + 1))
            cells.append(f"{mark:^{len(column)}}")
        lines.append(f"  {policy:<{width}}  " + "  ".join(cells))
    return "\n".join(lines)


def _pair(policy: str, across: str, name: str) -> str | None:
    """The reason of a pair, if it is refused with every choice of improvement and regularizer beside it."""
    if across == "selection":
        return why_not({"policy": policy}, selection=name)
    beside = {"improvement": ("q-max", "none"), "regularizer": ("bc",)}
    beside[across] = (name,)
    tried = [
        why_not({"policy": policy, "improvement": improvement, "regularizer": regularizer, "backup": "expectile"})
        for improvement, regularizer in itertools.product(beside["improvement"], beside["regularizer"])
    ]
    return None if None in tried else tried[0]
