"""Comparisons: each value a command names of a part or an option, crossed with every other, and what of it is no run.

An option that a run does not have makes no further run: `--policy diffusion gaussian --policy.T 5 50` is three runs.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from ablations.plan.config import RunConfig, make_run
from ablations.plan.parts import sections
from ablations.plan.request import Request
from core.options import OptionError, flag_of, label_of, written

#: of a run's label, which names its directory and what lies beside it
LONGEST = 200
#: options that change something only where their owner is there: which, whether a run has it, and it in words
OWNERS: tuple[tuple[tuple[str, ...], Callable[[RunConfig], bool], str], ...] = (
    (("critic.",), lambda run: run.needs_critic, "asks a critic"),
    (("trainer.tau",), lambda run: run.trains_critic, "trains a critic"),
    (
        ("trainer.critic_lr",),
        lambda run: run.trains_critic or run.parts.regularizer.learns or run.parts.improvement.learns,
        "trains anything but a policy",
    ),
    (("backup",), lambda run: run.uses_backup, "trains a critic that looks beyond one step, or asks V"),
    (("task.discount",), lambda run: run.asks_beyond_one_step, "asks a critic that looks beyond one step"),
    (("trainer.bonus_",), lambda run: run.parts.improvement.adds_bonus, "maximises Q"),
    (
        ("trainer.ema_",),
        lambda run: run.asks_target_policy,
        "asks a target policy",
    ),
    (
        ("regularizer.network.", "trainer.behaviour_decay"),
        lambda run: run.parts.regularizer.needs_behaviour,
        "has a behaviour model",
    ),
    (
        ("improvement.network.",),
        lambda run: run.parts.improvement.learns,
        "has an improvement with a network of its own",
    ),
    (("regularizer.coef",), lambda run: run.names["regularizer"] != "none", "has a regularizer"),
)


def cross(
    requests: Iterable[Request], where: Literal["names", "options"], axes: Mapping[str, Sequence[Any]]
) -> list[Request]:
    """Every request with every combination of the axes' values, the last axis fastest."""
    for key, values in axes.items():
        refuse_repeats(flag_of(key), values)
    crossed = []
    for request in requests:
        for values in itertools.product(*axes.values()):
            chosen = dict(zip(axes, values, strict=True))
            varied = {key: value for key, value in chosen.items() if len(axes[key]) > 1}
            changed: dict[str, Any] = {where: {**getattr(request, where), **chosen}}
            crossed.append(dataclasses.replace(request, **changed, varied={**request.varied, **varied}))
    return crossed


def make_runs(requests: Sequence[Request], skip_impossible: bool) -> tuple[list[RunConfig], list[str]]:
    """The runs these are, each once, and what was left out, why, in lines.

    Raises `OptionError` for what cannot be, unless that is to be skipped.
    """
    runs: dict[str, RunConfig] = {}
    impossible: Counter[str] = Counter()
    for request in requests:
        try:
            run = make_run(request)
        except OptionError as error:
            if not skip_impossible:
                raise
            impossible[str(error)] += 1
            continue
        run = _labelled(run, request)
        runs.setdefault(run.label, run)
    return list(runs.values()), [f"left out, {count}: {reason}" for reason, count in impossible.items()]


def _labelled(run: RunConfig, request: Request) -> RunConfig:
    """The run with what sets it apart from the others of its comparison, in its label too."""
    owned = sections(run.names, type(run.transforms))
    fields = {f"{prefix}.{field.name}" for prefix, _, config in owned for field in dataclasses.fields(config)}
    varied = {
        key: value
        for key, value in request.varied.items()
        if (key in run.names or key in fields) and _owner_missing(key, [run]) is None
    }
    named = {"policy"} | ({"regularizer", "improvement"} if request.preset is None else set())
    unnamed = [key for key in varied if request.label or key not in named]
    suffix = "".join(label_of(key, varied[key]) for key in unnamed)
    if len(run.label + suffix) > LONGEST:
        raise OptionError(f"{run.label}{suffix}: too long for a directory's name; compare fewer options at once")
    return dataclasses.replace(run, label=f"{run.label}{suffix}", varied=varied)


def refuse_idle(said: Iterable[str], runs: Sequence[RunConfig]) -> None:
    """An option of something that no run has would change nothing."""
    for option in said:
        missing = _owner_missing(option, runs)
        if missing:
            raise OptionError(
                f"{flag_of(option)}: of {', '.join(run.label for run in runs)} none {missing}; leave it out"
            )


def _owner_missing(option: str, runs: Sequence[RunConfig]) -> str | None:
    """What none of the runs has or does that this option needs to matter."""
    for prefixes, has_use, what in OWNERS:
        if option.startswith(prefixes) and not any(map(has_use, runs)):
            return what
    return None


def refuse_repeats(flag: str, values: Sequence[Any]) -> None:
    repeated = sorted({value for value in values if list(values).count(value) > 1})
    if repeated:
        raise OptionError(f"{flag}: {', '.join(map(written, repeated))} named more than once; each may appear once")
