"""The table of presets in docs/methods.md: `python -m ablations.command.methods_table` prints it."""

from __future__ import annotations

from ablations.plan.preset import Preset
from ablations.plan.presets import PRESETS

HEADER = ("preset", "policy, regularizer, improvement, backup, selection", "source", "tested against", "what differs")


def table() -> str:
    """One row for each preset."""
    rows = [HEADER, tuple("---" for _ in HEADER), *(_row(name, preset) for name, preset in PRESETS.items())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(name: str, preset: Preset) -> tuple[str, ...]:
    numbers = f"numbers of the release (`{preset.golden}.json`)" if preset.golden else "losses written out"
    return f"`{name}`", ", ".join(preset.parts.values()), preset.paper, numbers, preset.note


if __name__ == "__main__":
    print(table())
