"""What a task is, whatever its name: what moves in it, and how it is rewarded. What a method does by task goes by this.

The literature's rules ("IQL rescales rewards on locomotion") are of kinds of tasks, and the same kind has many names:
`hopper-medium-v2`, `local:hopper-medium`, a Minari set of anybody's. Where data describe their environment its kind is
that of the class that makes it and of the reward that it was made with.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: how a step is rewarded: by its motion or distance; 1 at the goal and 0 elsewhere; 0 at the goal and -1 elsewhere
DENSE, ONE_AT_GOAL, MINUS_ONE_ELSEWHERE = "dense", "1 at the goal, else 0", "0 at the goal, else -1"


@dataclass(frozen=True)
class Kind:
    """`family`: locomotion, maze2d, antmaze, adroit, kitchen, ...; `body`: what moves, or the maze or part of it."""

    family: str
    body: str
    reward: str = DENSE


#: class of gymnasium's or gymnasium-robotics' environment -> what it is
CLASSES: dict[str, tuple[str, str]] = {
    **{
        f"{body}Env": ("locomotion", body.lower())
        for body in ("Hopper", "HalfCheetah", "Walker2d", "Ant", "Humanoid", "Swimmer")
    },
    "AntMazeEnv": ("antmaze", "ant"),
    "PointMazeEnv": ("maze2d", "point"),
    "KitchenEnv": ("kitchen", "franka"),
    **{f"AdroitHand{body}Env": ("adroit", body.lower()) for body in ("Pen", "Hammer", "Door", "Relocate")},
}
MODULES = re.compile(r"(gymnasium|gymnasium_robotics)\.envs\.[\w.]+:(\w+)")
#: families whose environments reward reaching a goal, unless asked for a dense reward
GOALS = ("antmaze", "maze2d")


def kind_of(entry_point: Any, arguments: Mapping[str, Any]) -> Kind | None:
    """The kind of an environment by the class that makes it and its keyword arguments.

    Of gymnasium's and gymnasium-robotics' classes each is known, those without a family of their own by their class;
    None for classes of anybody else, whatever they are called.
    """
    found = MODULES.fullmatch(entry_point) if isinstance(entry_point, str) else None
    if found is None:
        return None
    family, body = CLASSES.get(found[2], (found[2], ""))
    reward = arguments.get("reward_type", "sparse" if family in GOALS else "dense")
    return Kind(family, body, {"dense": DENSE, "sparse": ONE_AT_GOAL}.get(reward, str(reward)))
