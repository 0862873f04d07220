"""The datasets of D4RL (2004.07219) by name: where each is published, its shapes, its time limit, its score references.

Read from d4rl 1.1 (`infos.py` and the environments it registers). A score is 0 at the return of a random policy
and 100 at an expert's. The -eval-, -longhorizon-, minigrid, flow, carla and bullet variants are not listed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from tasks.kinds import DENSE, ONE_AT_GOAL, Kind

SERVER = "https://rail.eecs.berkeley.edu/datasets/offline_rl"


@dataclass(frozen=True)
class Entry:
    """One published dataset."""

    name: str
    file: str  # below SERVER
    domain: str  # locomotion, maze2d, antmaze, adroit or kitchen
    body: str  # what moves, or the maze: decides the simulator
    obs_dim: int
    act_dim: int
    limit: int  # steps of an episode
    reference: tuple[float, float]  # returns of a random policy and of an expert

    @property
    def url(self) -> str:
        return f"{SERVER}/{self.file}"

    @property
    def kind(self) -> Kind:
        """What the task is."""
        return Kind(self.domain, self.body, ONE_AT_GOAL if self.domain == "antmaze" else DENSE)


#: body -> observation and action dimensions, references
LOCOMOTION = {
    "halfcheetah": (17, 6, (-280.178953, 12135.0)),
    "hopper": (11, 3, (-20.272305, 3234.3)),
    "walker2d": (17, 6, (1.629008, 4592.3)),
    "ant": (111, 8, (-325.6, 3879.7)),
}
ADROIT = {
    "pen": (45, 24, (96.262799, 3076.8331017826877)),
    "hammer": (46, 26, (-274.856578, 12794.134825156867)),
    "door": (39, 28, (-56.512833, 2880.5693087298737)),
    "relocate": (39, 30, (-6.425911, 4233.877797728884)),
}
ADROIT_LIMITS = {"pen": 100, "hammer": 200, "door": 200, "relocate": 200}
#: maze, version -> time limit, references of the sparse and of the dense reward
MAZE2D = {
    ("open", 0): (150, (0.01, 20.66), (11.17817, 27.166538620695782)),
    ("umaze", 0): (150, (0.94, 62.6), (23.249793, 81.78995240126592)),
    ("medium", 0): (250, (5.77, 85.14), (19.477620, 96.03474232952358)),
    ("large", 0): (600, (4.83, 191.99), (27.388310, 215.09965671563742)),
    ("umaze", 1): (300, (23.85, 161.86), (68.537689, 193.66285642381482)),
    ("medium", 1): (600, (13.13, 277.39), (44.264742, 297.4552547777125)),
    ("large", 1): (800, (6.7, 273.99), (30.569041, 303.4857382709002)),
}
#: name -> time limit, the maze's name in the files of -v0 and -v2, and in those of -v1, several starts, several goals
ANTMAZE = {
    "umaze": (700, "u-maze", "umaze", False, False),
    "umaze-diverse": (700, "u-maze", "umaze", True, True),
    "medium-play": (1000, "big-maze", "medium", True, False),
    "medium-diverse": (1000, "big-maze", "medium", True, True),
    "large-play": (1000, "hardest-maze", "large", True, False),
    "large-diverse": (1000, "hardest-maze", "large", True, True),
}
KITCHEN = {
    "complete": "mini_kitchen_microwave_kettle_light_slider-v0",
    "partial": "kitchen_microwave_kettle_light_slider-v0",
    "mixed": "kitchen_microwave_kettle_bottomburner_light-v0",
}


def _locomotion() -> list[Entry]:
    made = []
    kinds = ("random", "medium", "expert", "medium-replay", "medium-expert", "full-replay", "random-expert")
    for body, kind, version in itertools.product(LOCOMOTION, kinds, (0, 1, 2)):
        if (kind == "full-replay" and version == 0) or (kind == "random-expert" and (body, version) != ("ant", 0)):
            continue
        obs_dim, act_dim, reference = LOCOMOTION[body]
        words = f"{body}_{kind}".replace("-", "_")
        if version == 0:
            # the first release called its replay files mixed, and walker2d walker in one of them
            words = {"walker2d_medium_replay": "walker_mixed"}.get(words, words.replace("medium_replay", "mixed"))
        file = f"gym_mujoco/{words}.hdf5" if version == 0 else f"gym_mujoco_v{version}/{words}-v{version}.hdf5"
        made.append(Entry(f"{body}-{kind}-v{version}", file, "locomotion", body, obs_dim, act_dim, 1000, reference))
    return made


def _maze2d() -> list[Entry]:
    made = []
    for (maze, version), (limit, sparse, dense) in MAZE2D.items():
        suffix = "-v1" if version == 1 else ""
        for kind, reference in (("", sparse), ("-dense", dense)):
            file = f"maze2d/maze2d-{maze}{kind or '-sparse'}{suffix}.hdf5"
            made.append(Entry(f"maze2d-{maze}{kind}-v{version}", file, "maze2d", maze, 4, 2, limit, reference))
    return made


def _antmaze() -> list[Entry]:
    made = []
    for (kind, row), version in itertools.product(ANTMAZE.items(), (0, 1, 2)):
        limit, maze, maze_v1, starts, goals = row
        folder = ("ant_maze_new", "ant_maze_v1", "ant_maze_v2")[version]
        fixed = "_fixed" if version == 2 else ""
        maze = maze_v1 if version == 1 else maze
        file = f"{folder}/Ant_maze_{maze}_noisy_multistart_{starts}_multigoal_{goals}_sparse{fixed}.hdf5"
        body = kind.split("-")[0]
        made.append(Entry(f"antmaze-{kind}-v{version}", file, "antmaze", body, 29, 8, limit, (0.0, 1.0)))
    return made


def _adroit() -> list[Entry]:
    made = []
    v0 = {"human": "{}-v0_demos_clipped", "cloned": "{}-demos-v0-bc-combined", "expert": "{}-v0_expert_clipped"}
    for body, kind, version in itertools.product(ADROIT, v0, (0, 1)):
        obs_dim, act_dim, reference = ADROIT[body]
        file = f"hand_dapg_v1/{body}-{kind}-v1.hdf5" if version else f"hand_dapg/{v0[kind].format(body)}.hdf5"
        limit = ADROIT_LIMITS[body]
        made.append(Entry(f"{body}-{kind}-v{version}", file, "adroit", body, obs_dim, act_dim, limit, reference))
    return made


def _kitchen() -> list[Entry]:
    return [
        Entry(f"kitchen-{kind}-v0", f"kitchen/{file}.hdf5", "kitchen", kind, 60, 9, 280, (0.0, 4.0))
        for kind, file in KITCHEN.items()
    ]


D4RL: dict[str, Entry] = {
    entry.name: entry for entry in (*_locomotion(), *_maze2d(), *_antmaze(), *_adroit(), *_kitchen())
}


def normalise(reference: tuple[float, float], returns: np.ndarray) -> np.ndarray:
    """Returns on D4RL's scale as the papers print it: 0 is random, 100 an expert."""
    low, high = reference
    return 100 * (returns - low) / (high - low)
