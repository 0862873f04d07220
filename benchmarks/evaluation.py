"""python -m benchmarks.evaluation: judging S policies over E episodes each, batched against one step at a time.

Both judge the same networks in the same simulator from the same starts, in turn, round after round. Batched: the
testbed's own evaluation, all episodes of all seeds together. In turn: as the released code does (2208.06193,
`eval_policy` and `sample_action`), one environment, one state, T = 5 denoising steps and a softmax over the Q of 50
candidates for each step. The networks have cloned `--task` for a moment, so that episodes end at different times.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.cases import HOPPER, make_trainer
from benchmarks.measure import quartiles
from benchmarks.reference import DiffusionQL, Settings, TorchRng
from core import fusion
from core.rng import Rng, SeedRng
from tasks.catalogue import offline_task
from tasks.fleet import Fleet, Workers, launch
from tasks.offline import OfflineTask
from tasks.rollout import SEEDS, rollout
from tasks.simulators import Simulation, Simulator
from trainers.selection import SoftmaxQ
from trainers.trainer import Trainer


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    fusion.fuse()
    task = offline_task(options.task)
    simulator = dataclasses.replace(task.require_simulator(), limit=options.limit)
    trainer = cloned(task, options.seeds, options.train)
    agents = [agent_of(trainer, seed) for seed in range(options.seeds)]
    fleet = launch(simulator, options.seeds * options.episodes)
    print(f"{torch.get_num_threads()} threads, {options.seeds} seeds x {options.episodes} episodes of {options.task}")
    print(f"{'round':>5} {'batched':>24} {'in turn':>24} {'ratio':>6}", flush=True)
    ratios = []
    for number in range(options.rounds):
        ours, steps = timed(lambda: batched(trainer, fleet, options.seeds, options.episodes))
        theirs, alone = timed(lambda: in_turn(agents, simulator, options.episodes))
        ratios.append((steps / ours) / (alone / theirs))
        shown = [f"{count / taken:8.0f} steps/s ({taken:5.1f} s)" for count, taken in ((steps, ours), (alone, theirs))]
        print(f"{number:5} {shown[0]:>24} {shown[1]:>24} {ratios[-1]:6.1f}", flush=True)
    print("ratio, median and quartiles: {:.1f} ({:.1f}-{:.1f})".format(*quartiles(np.array(ratios))))
    return 0


def cloned(task: OfflineTask, seeds: int, steps: int) -> Trainer:
    """Diffusion-QL's networks after `steps` of training on the task's data."""
    trainer = make_trainer(HOPPER, seeds, torch.device("cpu"))
    trainer.train(task.dataset(), steps, SeedRng(range(seeds), "train"))
    return trainer


def agent_of(trainer: Trainer, seed: int) -> DiffusionQL:
    """The reference implementation with the networks of one seed."""
    agent = DiffusionQL(Settings())
    assert trainer.target_critic is not None
    layers = [p[seed] for p in trainer.policy.parameters()]
    heads = [p[seed, head] for head in range(2) for p in trainer.target_critic.parameters()]
    _copy(agent.actor, layers)
    _copy(agent.target, heads)
    return agent


@torch.no_grad()
def _copy(module: nn.Module, values: list[Tensor]) -> None:
    for parameter, value in zip(module.parameters(), values, strict=True):
        parameter.copy_(value.mT if value.dim() == 2 else value)


def batched(trainer: Trainer, fleet: Fleet | Workers, seeds: int, episodes: int) -> int:
    """The testbed's evaluation; returns the steps of all episodes."""
    selection = SoftmaxQ()

    @torch.no_grad()
    def act(obs: Tensor, rng: Rng) -> Tensor:
        return selection(trainer.policy, trainer.critics(), obs, rng)

    return int(rollout(fleet, act, SeedRng(range(seeds), "evaluate"), seeds, episodes).lengths.sum())


def in_turn(agents: list[DiffusionQL], simulator: Simulator, episodes: int) -> int:
    """Each agent in one environment, an episode after another; returns the steps of all."""
    starts = SeedRng(range(len(agents)), "evaluate").integers(SEEDS, episodes).tolist()
    simulation, steps = Simulation(simulator), 0
    for seed, (agent, own) in enumerate(zip(agents, starts, strict=True)):
        rng = TorchRng(seed)
        for start in own:
            obs, over = simulation.reset(start), False
            while not over:
                obs, _, terminated, truncated, _ = simulation.step(sample_action(agent, obs, rng))
                over, steps = terminated or truncated, steps + 1
    return steps


@torch.no_grad()
def sample_action(agent: DiffusionQL, obs: np.ndarray, rng: TorchRng) -> np.ndarray:
    """The release's: one of 50 samples, by a softmax over the smaller of the two target heads."""
    states = torch.as_tensor(obs, dtype=torch.float32)[None].repeat_interleave(50, dim=0)
    actions = agent.actor(states, rng)
    values = torch.min(*agent.target(states, actions))
    chosen = torch.multinomial(F.softmax(values, dim=0), 1, generator=rng.generator)
    return actions[chosen].numpy().ravel()


def timed(judge) -> tuple[float, int]:
    """Seconds it took, and what it returned."""
    began = time.perf_counter()
    steps = judge()
    return time.perf_counter() - began, steps


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--task", default="local:hopper-medium", help="whose data and simulator; 11 numbers seen, 3 set"
    )
    parser.add_argument("--seeds", type=int, default=5, help="policies judged")
    parser.add_argument("--episodes", type=int, default=10, help="of each policy")
    parser.add_argument("--limit", type=int, default=1000, help="steps after which an episode is cut off")
    parser.add_argument("--train", type=int, default=500, help="steps of training before")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
