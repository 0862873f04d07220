"""D4RL's rules for the Adroit hand, on the environments that gymnasium-robotics has of it today.

D4RL's reference returns belong to its reward, its ends of an episode and its horizon (2004.07219, `hand_dapg`). The
maintained environments differ in two places. A dropped pen does not end the episode. The term for the palm's distance
from the object has the opposite sign: +0.1 in the versions registered as -v1 since gymnasium-robotics 1.2.1, -0.1 in
D4RL. Only the dense reward is concerned.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.simulators import Rules

#: metres; a pen below it has been dropped
DROPPED = 0.075


def _pen(env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
    height = env.data.xpos[env.obj_body_id].ravel()[2]
    return reward, terminated or bool(height < DROPPED)


def _object(env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
    return reward - 0.2 * _distance(env, env.S_grasp_site_id, env.data.xpos[env.obj_body_id]), terminated


def _handle(env: Any, reward: float, terminated: bool) -> tuple[float, bool]:
    return reward - 0.2 * _distance(env, env.grasp_site_id, env.data.site_xpos[env.handle_site_id]), terminated


def _distance(env: Any, palm: int, target: np.ndarray) -> float:
    """Of the palm from the object, in metres."""
    return float(np.linalg.norm(env.data.site_xpos[palm].ravel() - target.ravel()))


_PALM = "D4RL's sign of the reward's palm term (-0.1; gymnasium-robotics has +0.1)"
#: body -> what is changed
RULES = {
    "pen": Rules("a dropped pen ends the episode, as in D4RL", _pen),
    "hammer": Rules(_PALM, _object),
    "door": Rules(_PALM, _handle),
    "relocate": Rules(_PALM, _object),
}
