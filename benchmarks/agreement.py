"""python -m benchmarks.agreement: the plain reference learns the bandit, to hold the testbed's results against.

The reference shares no code with policies, critics and trainer, trains one seed at a time, and is evaluated by the
task as every policy is. Without --cloning it is Diffusion-QL with the paper's toy settings (eta 2.5, T = 50).

python -m benchmarks.agreement --out reference.csv    five seeds, 20,000 steps; some 25 minutes a seed on one core
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from tqdm import trange

from benchmarks.cases import BANDIT, learn, make_reference
from benchmarks.reference import TorchRng
from core.rng import SeedRng
from tasks.bandits import Bandit

CPU = torch.device("cpu")
#: added to a seed, so that weights, training and evaluation each have a stream of their own
TRAINING, EVALUATED = 1_000_000, 2_000_000


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    tables = []
    for seed in options.seeds:
        tables.append(train(seed, options.steps, options.every, options.cloning))
        table = pd.concat(tables)
        if options.out:
            table.to_csv(options.out, index=False)
    print(table.pivot_table(index=["metric", "step"], columns="seed", values="value").round(3).to_string())
    return 0


def train(seed: int, steps: int, every: int, cloning: bool) -> pd.DataFrame:
    """The metrics of one seed at every `every` steps, tidy: seed, step, metric, value."""
    case = replace(BANDIT, improvement="none") if cloning else BANDIT
    torch.manual_seed(seed)
    agent, task, rng = make_reference(case, CPU), Bandit(), TorchRng(TRAINING + seed)
    data = task.dataset()
    rows = []
    for step in trange(every, steps + 1, every, desc=f"seed {seed}", unit_scale=every, unit="step"):
        learn(agent, data, case.batch, rng, every)
        with torch.no_grad():
            evaluation = task.evaluate(
                lambda obs, _: agent.actor(obs[0], TorchRng(EVALUATED + seed))[None],
                SeedRng([seed], "evaluate", CPU),
                1,
            )
        rows += [(seed, step, metric, values.item()) for metric, values in evaluation.metrics.items()]
    return pd.DataFrame(rows, columns=["seed", "step", "metric", "value"])


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--every", type=int, default=10_000, help="steps between evaluations")
    parser.add_argument("--cloning", action="store_true", help="behaviour cloning, without Q")
    parser.add_argument("--out", type=Path, help="a CSV file for the metrics, written after each seed")
    options = parser.parse_args(arguments)
    if options.out and not options.out.parent.is_dir():
        parser.error(f"--out {options.out}: {options.out.parent} is not a directory")
    if options.every < 1 or options.steps < 1 or options.steps % options.every:
        parser.error(f"--steps {options.steps}: must be a multiple of --every {options.every}, both at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
