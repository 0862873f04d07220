"""`local:{hopper,halfcheetah,walker2d}-{random,medium,expert,medium-expert,medium-replay}`: D4RL's protocol, smaller.

Random actions; a policy stopped at about a third to a half of the expert's return; the expert; half of each; and what
training had seen on the way to the medium policy, here rolled out from policies kept on that way instead of its
replay buffer. All policies act with their noise, as D4RL's did. The policies are in weights/, with their training
record; scripts/train_behaviour.py made them with sbx.

The environments are gymnasium's -v4: their rewards and terminations are those of the -v2 ones D4RL used (-v5 gives no
alive bonus on the terminal step and changed the friction of one of Walker2d's feet).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.collect.actor import Actor
from tasks.collect.record import ABREAST, record
from tasks.d4rl_names import LOCOMOTION
from tasks.fleet import launch
from tasks.simulators import Simulator

WEIGHTS = Path(__file__).parent / "weights"
SIMULATORS = {
    "hopper": Simulator("Hopper-v4", 1000),
    "halfcheetah": Simulator("HalfCheetah-v4", 1000),
    "walker2d": Simulator("Walker2d-v4", 1000),
}
KINDS = ("random", "medium", "expert", "medium-expert", "medium-replay")
#: steps of each; medium-expert has twice as many
STEPS = 50_000


class Uniform:
    """Actions uniform in the box."""

    def __init__(self, act_dim: int):
        self.act_dim = act_dim

    def start(self, obs: np.ndarray, generators: list[np.random.Generator]) -> None:
        self.generators = generators

    def act(self, obs: np.ndarray) -> np.ndarray:
        return np.stack([generator.uniform(-1, 1, self.act_dim) for generator in self.generators])


class Stochastic:
    """An actor with its own noise."""

    def __init__(self, actor: Actor):
        self.actor = actor

    def start(self, obs: np.ndarray, generators: list[np.random.Generator]) -> None:
        self.generators = generators

    def act(self, obs: np.ndarray) -> np.ndarray:
        noise = np.stack([generator.standard_normal(self.actor.act_dim) for generator in self.generators])
        return self.actor.act(obs, noise)


def collect(body: str, kind: str, seed: int, steps: int = STEPS) -> dict[str, np.ndarray]:
    """The arrays of `local:{body}-{kind}`."""
    simulator, name = SIMULATORS[body], f"{body}-{kind}"
    if kind == "random":
        return record(simulator, Uniform(LOCOMOTION[body][1]), steps, seed, name)
    if kind == "medium-expert":
        return _joined([collect(body, "medium", seed, steps), collect(body, "expert", seed + 1, steps)])
    if kind == "medium-replay":
        kept = sorted(WEIGHTS.glob(f"{body}-replay-*.npz"))
        share = steps // len(kept)
        fleet = launch(simulator, ABREAST)
        stages = [
            record(simulator, Stochastic(Actor.load(path)), share, seed + i, f"{name} {i + 1}/{len(kept)}", fleet)
            for i, path in enumerate(kept)
        ]
        fleet.close()
        return _joined(stages)
    return record(simulator, Stochastic(Actor.load(WEIGHTS / f"{body}-{kind}.npz")), steps, seed, name)


def _joined(stages: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {key: np.concatenate([stage[key] for stage in stages]) for key in stages[0]}
