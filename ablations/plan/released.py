"""What a method's released code does to rewards, by what the task is; or a line where that cannot be told."""

from __future__ import annotations

from ablations.plan.preset import Preset
from tasks import Task


def rewards(preset: Preset, task: Task) -> tuple[str | None, str | None]:
    """The transform of rewards that the released code applies to a task like this, and a line where none can be told.

    Data that describe their environment may be looked for.
    """
    rules = preset.released_rewards if task.has_transforms else ()
    if not rules:
        return None, None
    kind = task.kind
    if kind is None:
        return None, (
            "as released, rewards are transformed by what the task is, which its data do not say; they are learned "
            "from as they are, unless --task.reward says otherwise"
        )
    of_family = [rule for rule in rules if rule.family == kind.family and kind.body in (rule.bodies or (kind.body,))]
    fitting = [rule for rule in of_family if rule.reward == kind.reward]
    if of_family and not fitting:
        return None, (
            f"as released, rewards of {kind.family} are transformed where a step has {of_family[0].reward}; here it "
            f"has {kind.reward}, so that they are learned from as they are"
        )
    return (fitting[0].transform if fitting else None), None
