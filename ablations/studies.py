"""Studies: sets of runs that answer one question. Lists of commands, no loops.

Each run is what one would type after `python run_ablation.py`, so every number of a study can be had by a command of
its own. `common` comes first, the run's own options next, and what the user adds last.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """`runs`: label -> options; `figures`: names of the figures in `ablations.figures` to draw of them."""

    question: str
    common: str
    runs: dict[str, str]
    figures: tuple[str, ...] = ("samples",)


EXPRESSIVENESS = Study(
    question="How well can each policy class represent a behaviour with four modes?",
    common="--task bandit --bc-only --steps 100000 --eval-every 10000",
    runs={
        "diffusion": "--policy diffusion",
        "gaussian": "--policy gaussian",
        "cvae": "--policy cvae",
    },
)

COUPLING = Study(
    question="What does each class do when the same Q pulls it, everything else being equal?",
    common="--task bandit --improvement q-max --improvement.eta 2.5 --steps 20000 --eval-every 2000",
    runs={
        "diffusion": "--policy diffusion",
        "gaussian": "--policy gaussian",
        "cvae": "--policy cvae",
    },
)

STUDIES: dict[str, Study] = {"expressiveness": EXPRESSIVENESS, "coupling": COUPLING}
