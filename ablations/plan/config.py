"""What a run is: a choice for each part with its options, checked for whether the parts can work together.

Options come from four places, later ones winning: the part's own defaults, the task's, the preset's, and the command
line's. An option is named as on the command line without its dashes: `policy.T`, `policy.base.T`, `trainer.batch`.
"""

from __future__ import annotations

import dataclasses
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ablations.plan import released
from ablations.plan.budget import Budget, make_budget, published
from ablations.plan.capabilities import refusal
from ablations.plan.parts import CHOICES, DEFAULT_CHOICES, build_networks, build_part, sections
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from ablations.plan.views import View, make_views
from core.options import OptionError, Options
from critics import BACKUPS
from critics.backups import RewardOnly
from policies import POLICIES
from tasks import Task, make_task
from tasks.transforms import TransformConfig
from trainers import TrainerConfig
from trainers.trainer import Parts


@dataclass(frozen=True)
class RunConfig:
    """One method on one task over some seeds, complete: what `config.json` records."""

    label: str
    task: str
    preset: str | None
    names: dict[str, str]
    parts: Parts
    views: tuple[View, ...]
    trainer: TrainerConfig
    budget: Budget
    seeds: tuple[int, ...]
    #: of the task
    transforms: Options
    #: directory of the run whose critic this one is given, frozen
    critic_from: str | None = None
    backend: str = "gymnasium"
    #: of matrix products
    precision: str = "float32"
    #: the parts and options by which the runs of its comparison differ, with its own values
    varied: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    #: what is to be said of it before training; no part of its record
    notes: tuple[str, ...] = ()

    @property
    def needs_critic(self) -> bool:
        """Whether anything asks a critic: the improvement, or a way to act."""
        return self.parts.improvement.needs_critic or any(view.selection.needs_critic for view in self.views)

    @property
    def trains_critic(self) -> bool:
        """Whether it has a critic of its own to train, and none that is given."""
        return self.needs_critic and self.critic_from is None and not self.has_exact_critic

    @property
    def has_exact_critic(self) -> bool:
        """Whether Q is the task's own."""
        return self.needs_critic and self.parts.critic.source == "exact"

    @property
    def uses_backup(self) -> bool:
        """Whether its critic's target is more than the reward, or a V of its own is asked."""
        ahead = self.trains_critic and not make_task(self.task, self.backend).one_step
        return ahead or (self.needs_critic and self.parts.backup.has_value)

    @property
    def asks_beyond_one_step(self) -> bool:
        """Whether a critic that it asks was trained on discounted values of next states."""
        one_step = make_task(self.task, self.backend).one_step
        return self.needs_critic and not one_step and not isinstance(self.parts.backup, RewardOnly)

    @property
    def asks_target_policy(self) -> bool:
        """Whether the policy's average is asked: by what trains its critic, by its own loss, or to act."""
        own = self.parts.policy.follows_average or self.trainer.acting == "average"
        asked = self.trains_critic and self.asks_beyond_one_step and self.parts.backup.needs_policy
        return own or (asked and self.trainer.next_actions == "average")

    def record(self) -> dict[str, Any]:
        """Everything as plain data."""
        options = {name: dataclasses.asdict(getattr(self.parts, name)) for name in _fields(Parts) if name != "networks"}
        options |= {f"{part}.network": dataclasses.asdict(one) for part, one in self.parts.networks.items()}
        return {
            "label": self.label,
            "task": self.task,
            "backend": self.backend,
            "preset": self.preset,
            "names": self.names,
            "options": {
                **options,
                "trainer": dataclasses.asdict(self.trainer),
                "task": dataclasses.asdict(self.transforms),
            },
            "views": [view.record() for view in self.views],
            **dataclasses.asdict(self.budget),
            "seeds": list(self.seeds),
            "critic_from": self.critic_from,
            "precision": self.precision,
            "varied": dict(self.varied),
        }


def _fields(config: type) -> list[str]:
    return [field.name for field in dataclasses.fields(config)]


def of_preset(request: Request) -> dict[str, Any]:
    """Names and options of a preset in one mapping, with what its paper set for the task; nothing without one."""
    if request.preset is None:
        return {}
    row = PRESETS[request.preset]
    options = {**row.parts, **row.options, **(row.as_released if request.as_released else {})}
    for part in CHOICES:
        if request.names.get(part, options[part]) != options[part]:
            # another part's options may have the same names and mean something else
            options = {key: value for key, value in options.items() if not key.startswith(f"{part}.")}
    if not make_task(request.task, request.backend).has_transforms:
        options = {key: value for key, value in options.items() if not key.startswith("task.")}
    of_paper = published(request)
    if of_paper:
        options |= {
            "improvement.eta": of_paper.eta,
            "trainer.grad_norm": of_paper.grad_norm,
            "trainer.lr": of_paper.lr,
            "backup": "max-q" if of_paper.max_q_backup else options["backup"],
        }
    return options


def _deviates(request: Request) -> bool:
    """Whether anything of the preset's released code, where it differs from the paper, is in the run."""
    return request.as_released and request.preset is not None and bool(PRESETS[request.preset].as_released)


def choose(request: Request) -> dict[str, str]:
    """A name for each part and nested policy: as asked, else the preset's, the task's, the testbed's default.

    On a one-step task no backup matters, so the one that does no work stands in, unless the improvement asks for V.
    Cloning alone stays alone: a task's way to act by Q is not for what was trained without.
    """
    task, preset = make_task(request.task, request.backend), of_preset(request)
    layers = ChainMap(dict(request.names), preset, dict(task.defaults), DEFAULT_CHOICES)
    names = {part: layers[part] for part in (*CHOICES, "selection")}
    if task.one_step and "backup" not in request.names and not BACKUPS[names["backup"]].has_value:
        names["backup"] = "reward-only"
    if names["improvement"] == "none" and ("improvement" in request.names or preset.get("improvement") != "none"):
        names["selection"] = DEFAULT_CHOICES["selection"]
    nested = {key: name for key, name in layers.items() if "." in key and isinstance(name, str) and name in POLICIES}
    return {**names, **nested}


def make_run(request: Request) -> RunConfig:
    """The complete run. Raises `OptionError` where something cannot be."""
    task, names = make_task(request.task, request.backend), choose(request)
    selections = list(request.selections) or _ways_to_act(request, names)
    reward, note = _released_rewards(request, task)
    options = ChainMap(dict(request.options), reward, of_preset(request), dict(task.defaults))
    chosen = list(sections(names, task.options))
    built = {
        prefix: build_part(prefix, config, names, options, task.defaults)
        for prefix, _, config in chosen
        if "." not in prefix
    }
    names = {prefix: name for prefix, name, _ in chosen if name}
    of_parts = {part: built[part] for part in _fields(Parts) if part != "networks"}
    parts = Parts(**of_parts, networks=build_networks(options))
    views = make_views(selections, request.resample, parts.policy, options)
    problem = refusal(names, parts, views, task.has_next_actions)
    if problem:
        raise OptionError(problem)
    if parts.critic.source == "exact" and not task.has_true_q:
        raise OptionError(f"--critic exact: Q of {request.task} is not known; use --critic learned, or a bandit")
    _refuse_meaningless(built["task"], task, request.task)
    budget = make_budget(request, names)
    return RunConfig(
        request.label or _label(request, names),
        request.task,
        request.preset and f"{request.preset}{' as released' if _deviates(request) else ''}",
        names,
        parts,
        views,
        built["trainer"],
        budget,
        request.seeds,
        built["task"],
        request.critic_from,
        request.backend,
        request.precision,
        notes=(note,) if note else (),
    )


def _refuse_meaningless(asked: Options, task: Task, name: str) -> None:
    """Transforms and a discount are of tasks that have something to transform or to discount."""
    if not isinstance(asked, TransformConfig) or asked == TransformConfig():
        return
    if asked.discount is not None and task.one_step:
        raise OptionError(
            f"--task.discount: an episode of {name} is one step, there is nothing to discount; leave it out"
        )
    if not task.has_transforms:
        raise OptionError(f"--task.reward, --task.observation: {name} is learned from as it is; leave them out")


def _released_rewards(request: Request, task: Task) -> tuple[dict[str, Any], str | None]:
    """What is done to rewards by the released code of the preset, as an option, and a line where that is not known."""
    if request.preset is None or not request.as_released or "task.reward" in request.options:
        return {}, None
    transform, note = released.rewards(PRESETS[request.preset], task)
    return ({"task.reward": transform} if transform else {}), note


def _ways_to_act(request: Request, names: Mapping[str, str]) -> list[str]:
    """The default way to act; where improvements are compared, one sample too, which is all that cloning alone has."""
    plain = [DEFAULT_CHOICES["selection"]] if "improvement" in request.varied else []
    return list(dict.fromkeys([*plain, names["selection"]]))


def _label(request: Request, names: Mapping[str, str]) -> str:
    """A short name: the preset and what replaces its policy, or the policy and how it is trained."""
    # a label is the name of a directory
    names = {part: name.replace(":", ".") for part, name in names.items()}
    if request.preset:
        return "-".join([request.preset, *([names["policy"]] if request.names.get("policy") else [])])
    regularizer = "" if names["regularizer"] == "bc" else f"-{names['regularizer']}"
    improvement = "bc" if names["improvement"] == "none" and not regularizer else names["improvement"]
    return f"{names['policy']}{regularizer}" + ("" if improvement == "none" else f"-{improvement}")
