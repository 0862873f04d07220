"""Which parts can work together, and why not: one sentence for each impossible combination, known before training.

Parts state what they can do and what they need as types, class variables and properties; nothing is found by trying.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

from ablations.plan.views import View
from critics import BACKUPS
from policies import POLICIES, DenoisingPolicy, LatentPolicy, ModalPolicy, PolicyConfig, TractablePolicy, VelocityPolicy
from trainers import IMPROVEMENTS
from trainers.trainer import Parts


def refusal(names: Mapping[str, str], parts: Parts, views: Sequence[View], has_next_actions: bool) -> str | None:
    """Why these parts cannot work together, in one sentence with the alternatives; None where they can.

    `has_next_actions`: whether the task's data say which action was taken next.
    """
    reasons = itertools.chain(
        _of_training(names, parts),
        _of_gradients(names, parts),
        _of_backup(names, parts, has_next_actions),
        _of_views(names, parts, views),
    )
    return next(reasons, None)


def _of_training(names: Mapping[str, str], parts: Parts) -> Iterator[str]:
    """Something must train the policy, and every part of it."""
    policy, built = names["policy"], parts.policy.builds
    if not parts.regularizer.trains and not parts.improvement.adds_bonus:
        yield (
            f"regularizer {names['regularizer']} with improvement {names['improvement']} trains nothing; "
            "use --regularizer bc, or --improvement q-max"
        )
    if built.cloning_only and names["regularizer"] != "bc":
        yield (
            f"policy {policy} trains its {built.cloning_only[0]} by its own loss alone, and regularizer "
            f"{names['regularizer']} is another; use --regularizer bc"
        )
    if parts.improvement.edits and parts.regularizer.needs_behaviour:
        yield (
            f"improvement {names['improvement']} moves the data's actions, which the behaviour model of regularizer "
            f"{names['regularizer']} must see as they are; use --regularizer bc"
        )
    through_samples = parts.improvement.needs_reparameterised or parts.improvement.needs_latent
    if built.improvement_only and not through_samples:
        yield (
            f"policy {policy} trains its {built.improvement_only[0]} by Q through its samples alone, and improvement "
            f"{names['improvement']} has none; use --improvement q-max"
        )


def _of_gradients(names: Mapping[str, str], parts: Parts) -> Iterator[str]:
    """What parts ask of the policy's samples and density."""
    policy = names["policy"]
    for part, asks in (("improvement", parts.improvement), ("regularizer", parts.regularizer)):
        if asks.needs_reparameterised and not parts.policy.reparameterised:
            yield (
                f"{part} {names[part]} differentiates through samples, and those of policy {policy} pass no gradient "
                f"as configured; use --policy {_able(lambda config: config().reparameterised)}"
            )
    if parts.regularizer.needs_density and not issubclass(parts.policy.builds, TractablePolicy):
        yield (
            f"regularizer {names['regularizer']} needs a policy with a density, which {policy} has not; "
            f"use --policy {_able_type(TractablePolicy)}"
        )
    for needed, kind, what in (
        (parts.improvement.needs_denoiser, DenoisingPolicy, "denoises"),
        (parts.improvement.needs_velocity, VelocityPolicy, "follows a velocity"),
        (parts.improvement.needs_latent, LatentPolicy, "chooses a latent"),
    ):
        if needed and not issubclass(parts.policy.builds, kind):
            yield (
                f"improvement {names['improvement']} needs a policy that {what}, which {policy} does not; "
                f"use --policy {_able_type(kind)}"
            )


def _of_backup(names: Mapping[str, str], parts: Parts, has_next_actions: bool) -> Iterator[str]:
    if parts.improvement.needs_value and not parts.backup.has_value:
        able = " or ".join(name for name, config in BACKUPS.items() if config.has_value)
        yield (
            f"improvement {names['improvement']} with baseline value needs a backup that owns one, which "
            f"{names['backup']} does not; use --backup {able}, or another --improvement.baseline"
        )
    if parts.backup.needs_next_act and not has_next_actions:
        able = " or ".join(name for name, config in BACKUPS.items() if not config.needs_next_act)
        yield (
            f"backup {names['backup']} needs the next action of the data, which this task has not; use --backup {able}"
        )


def _of_views(names: Mapping[str, str], parts: Parts, views: Sequence[View]) -> Iterator[str]:
    policy = names["policy"]
    for view in views:
        for needed, kind, what in (
            (view.selection.needs_mode, ModalPolicy, "with a mode"),
            (view.selection.needs_denoiser, DenoisingPolicy, "that denoises"),
        ):
            if needed and not issubclass(parts.policy.builds, kind):
                yield (
                    f"selection {view.selection_label} needs a policy {what}, which {policy} is not; "
                    f"use --selection one, or --policy {_able_type(kind)}"
                )
        if view.selection.needs_energy and not parts.improvement.gives_energy:
            able = " or ".join(name for name, config in IMPROVEMENTS.items() if config.gives_energy)
            yield (
                f"selection {view.selection_label} needs an improvement that learns an energy of noised actions, which "
                f"{names['improvement']} does not; use --selection one, or --improvement {able}"
            )


def _able(can: Callable[[type[PolicyConfig]], bool]) -> str:
    return " or ".join(name for name, config in POLICIES.items() if can(config))


def _able_type(kind: type) -> str:
    return _able(lambda config: issubclass(config.builds, kind))
