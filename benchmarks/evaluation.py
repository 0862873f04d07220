"""python -m benchmarks.evaluation: evaluation of S policies over E episodes each, batched against one step at a time.

Both evaluate the same networks in the same simulator from the same starts, in turn, round after round. Batched: the
testbed's own evaluation, all episodes of all seeds together. In turn: as the released code does (2208.06193,
`eval_policy` and `sample_action`), one environment, one state, T = 5 denoising steps and a softmax over the Q of
`--candidates` samples for each step, 50 there; one is the sample itself, as the paper acts. The networks have been
trained on `--task` for a moment, so that episodes last a while and end at different times. A batch goes on until its
last episode is over, so the ratio falls as their lengths differ more.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
from trainers.selection import One, SoftmaxQ
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
    fleet = launch(simulator, options.seeds * options.episodes, options.workers)
    asked = f"{options.seeds} seeds x {options.episodes} episodes of {options.task}, at most {options.limit} steps"
    print(f"{asked}; {torch.get_num_threads()} threads, {len(_workers(fleet)) or 'no'} workers")
    batched(trainer, fleet, options.seeds, options.episodes, options.candidates)  # workers start, kernels load
    rows = []
    for number in range(options.rounds):
        ours = timed(lambda: batched(trainer, fleet, options.seeds, options.episodes, options.candidates), fleet)
        theirs = timed(lambda: in_turn(agents, simulator, options.episodes, options.candidates), fleet)
        rows.append([theirs.wall / ours.wall, theirs.cpu / ours.cpu])
        print(f"round {number}: batched {ours}; in turn {theirs}; {rows[-1][0]:.1f} and {rows[-1][1]:.1f}", flush=True)
    if rows:
        for name, column in zip(("time", "processor time"), np.array(rows).T, strict=True):
            print("in turn / batched, {} of a step: {:.1f} ({:.1f}-{:.1f})".format(name, *quartiles(column)))
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


def batched(trainer: Trainer, fleet: Fleet | Workers, seeds: int, episodes: int, candidates: int) -> int:
    """The testbed's evaluation; returns the steps of all episodes."""
    selection = SoftmaxQ(candidates) if candidates > 1 else One()

    @torch.no_grad()
    def act(obs: Tensor, rng: Rng) -> Tensor:
        return selection(trainer.policy, trainer.critics(), obs, rng)

    return int(rollout(fleet, act, SeedRng(range(seeds), "evaluate"), seeds, episodes).lengths.sum())


def in_turn(agents: list[DiffusionQL], simulator: Simulator, episodes: int, candidates: int) -> int:
    """Each agent in one environment, an episode after another; returns the steps of all."""
    starts = SeedRng(range(len(agents)), "evaluate").integers(SEEDS, episodes).tolist()
    simulation, steps = Simulation(simulator), 0
    for seed, (agent, own) in enumerate(zip(agents, starts, strict=True)):
        rng = TorchRng(seed)
        for start in own:
            obs, over = simulation.reset(start), False
            while not over:
                obs, _, terminated, truncated, _ = simulation.step(sample_action(agent, obs, rng, candidates))
                over, steps = terminated or truncated, steps + 1
    return steps


@torch.no_grad()
def sample_action(agent: DiffusionQL, obs: np.ndarray, rng: TorchRng, candidates: int) -> np.ndarray:
    """The release's: one of so many samples, by a softmax over the smaller of the two target heads."""
    states = torch.as_tensor(obs, dtype=torch.float32)[None].repeat_interleave(candidates, dim=0)
    actions = agent.actor(states, rng)
    if candidates == 1:
        return actions.numpy().ravel()
    values = torch.min(*agent.target(states, actions))
    chosen = torch.multinomial(F.softmax(values, dim=0), 1, generator=rng.generator)
    return actions[chosen].numpy().ravel()


@dataclasses.dataclass(frozen=True)
class Cost:
    """Milliseconds of one step of one episode: on the clock, and of all processors together."""

    wall: float
    cpu: float
    steps: int

    def __str__(self) -> str:
        return f"{self.wall:.2f} ms/step ({self.cpu:.2f} of processors, {self.steps} steps)"


def timed(evaluate: Callable[[], int], fleet: Fleet | Workers) -> Cost:
    """What a step of `evaluate` cost; a busy machine stretches the clock's time, and hardly the processors'."""
    began, spent = time.perf_counter(), _cpu_seconds(fleet)
    steps = evaluate()
    wall, cpu = time.perf_counter() - began, _cpu_seconds(fleet) - spent
    return Cost(1e3 * wall / steps, 1e3 * cpu / steps, steps)


def _workers(fleet: Fleet | Workers) -> list[int]:
    """Process ids."""
    return [process.pid for process in fleet.processes] if isinstance(fleet, Workers) else []


def _cpu_seconds(fleet: Fleet | Workers) -> float:
    """Processor time of this process and of the workers, which are not its children, so far."""
    ticks = 0
    for pid in _workers(fleet):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--task", default="local:hopper-medium", help="whose data and simulator; 11 numbers seen, 3 set"
    )
    parser.add_argument("--seeds", type=int, default=5, help="policies evaluated")
    parser.add_argument("--episodes", type=int, default=10, help="of each policy")
    parser.add_argument("--candidates", type=int, default=50, help="samples of which each action is chosen")
    parser.add_argument("--limit", type=int, default=100, help="steps after which an episode is cut off")
    parser.add_argument("--train", type=int, default=500, help="steps of training before")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender")
    parser.add_argument("--workers", type=int, help="processes that step the batch, default: the testbed's choice")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
