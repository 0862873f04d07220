"""Train one behaviour policy for the `local:` locomotion tasks with sbx, keeping a snapshot at every evaluation.

    python -m scripts.train_behaviour hopper --out /tmp/behaviour/hopper --minutes 40 --goal 100

Writes `step_XXXXXXXX.npz` (a `tasks.collect.actor.Actor`) and `record.csv` (step, minutes, normalised scores of
stochastic and deterministic episodes). scripts/pick_behaviour.py chooses from them what the project commits.
The environments are the -v4 ones: their reward and termination are those of the -v2 environments D4RL used
(-v5 gives no alive bonus on the terminal step and changed the friction of a foot of Walker2d).
"""

from __future__ import annotations

import argparse
import csv
import time
import warnings
from pathlib import Path

import gymnasium
import numpy as np
from sbx import SAC, TQC, CrossQ
from stable_baselines3.common.callbacks import BaseCallback

from tasks.collect.actor import Actor
from tasks.d4rl_names import LOCOMOTION, normalise

ALGORITHMS = {"crossq": CrossQ, "sac": SAC, "tqc": TQC}
ENVIRONMENTS = {"hopper": "Hopper-v4", "halfcheetah": "HalfCheetah-v4", "walker2d": "Walker2d-v4"}
BATCH_NORM_EPSILON = 1e-3


def export(model) -> Actor:
    """The actor's weights; batch normalisation before a layer is folded into the layer."""
    state = model.policy.actor_state
    layers = state.params.get("params", state.params)
    params = {name: {key: np.asarray(v, np.float64) for key, v in layer.items()} for name, layer in layers.items()}
    dense = [params[name] for name in sorted((n for n in params if n.startswith("Dense")), key=_number)]
    hidden, mean, log_std = dense[:-2], dense[-2], dense[-1]
    head = {key: np.concatenate([mean[key], log_std[key]], axis=-1) for key in mean}
    weights, biases = [], []
    for i, layer in enumerate([*hidden, head]):
        scale, shift = _batch_norm(state, params, f"BatchRenorm_{i}", layer["kernel"].shape[0])
        weights.append(scale[:, None] * layer["kernel"])
        biases.append(layer["bias"] + shift @ layer["kernel"])
    return Actor(tuple(weights), tuple(biases))


def _number(name: str) -> int:
    return int(name.split("_")[1])


def _batch_norm(state, params, name: str, width: int) -> tuple[np.ndarray, np.ndarray]:
    """y = scale x + shift of the normalisation before a layer, identity where there is none."""
    if name not in params:
        return np.ones(width), np.zeros(width)
    mean, var = (np.asarray(state.batch_stats[name][key], np.float64) for key in ("mean", "var"))
    scale = params[name]["scale"] / np.sqrt(var + BATCH_NORM_EPSILON)
    return scale, params[name]["bias"] - mean * scale


def episode_return(env: gymnasium.Env, actor: Actor, rng: np.random.Generator, noise_scale: float) -> float:
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    total, over = 0.0, False
    while not over:
        action = actor.act(obs[None], noise_scale * rng.standard_normal((1, actor.act_dim)))[0]
        obs, reward, terminated, truncated, _ = env.step(action)
        total, over = total + float(reward), terminated or truncated
    return total


class Snapshots(BaseCallback):
    """Every `every` steps: export, evaluate, save; stop at the goal or when the time is up."""

    def __init__(self, name: str, out: Path, every: int, episodes: int, minutes: float, goal: float):
        super().__init__()
        self.name, self.out, self.every, self.episodes = name, out, every, episodes
        self.minutes, self.goal, self.began = minutes, goal, time.time()
        self.env = gymnasium.make(ENVIRONMENTS[name])
        self.rng = np.random.default_rng(0)

    def _on_step(self) -> bool:
        if self.num_timesteps % self.every:
            return True
        actor = export(self.model)
        path = self.out / f"step_{self.num_timesteps:08d}.npz"
        actor.save(path)
        actor = Actor.load(path)
        stochastic, mode = (
            normalise(
                LOCOMOTION[self.name][2], np.array([episode_return(self.env, actor, self.rng, scale) for _ in range(n)])
            )
            for scale, n in ((1.0, self.episodes), (0.0, 2))
        )
        minutes = (time.time() - self.began) / 60
        row = [self.num_timesteps, round(minutes, 2), *np.round([stochastic.mean(), stochastic.min(), mode.mean()], 2)]
        with (self.out / "record.csv").open("a", newline="") as file:
            csv.writer(file).writerow(row)
        print(*row, flush=True)
        return minutes < self.minutes and stochastic.mean() < self.goal


def check_export(model, env: gymnasium.Env) -> None:
    """The exported actor acts as the library's does."""
    obs = np.stack([env.reset(seed=seed)[0] for seed in range(16)])
    ours = export(model).act(obs, np.zeros((16, env.action_space.shape[0])))
    theirs = model.predict(obs, deterministic=True)[0]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=ENVIRONMENTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="tqc")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--actor-hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--every", type=int, default=5000, help="steps between snapshots")
    parser.add_argument("--episodes", type=int, default=4, help="of each evaluation")
    parser.add_argument("--steps", type=int, default=3_000_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--goal", type=float, default=100, help="stop at this normalised score")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    args.out.mkdir(parents=True)
    env = gymnasium.make(ENVIRONMENTS[args.task])
    nets = {"pi": [args.actor_hidden] * 2, "qf": [args.hidden] * 2}
    model = ALGORITHMS[args.algorithm](
        "MlpPolicy", env, policy_kwargs={"net_arch": nets}, batch_size=args.batch, learning_starts=5000, seed=args.seed
    )
    with (args.out / "record.csv").open("w", newline="") as file:
        csv.writer(file).writerow(["step", "minutes", "score", "score_min", "score_mode"])
    model.learn(args.steps, callback=Snapshots(args.task, args.out, args.every, args.episodes, args.minutes, args.goal))
    check_export(model, gymnasium.make(ENVIRONMENTS[args.task]))


if __name__ == "__main__":
    main()
