"""Training and judging one run, or several runs beside each other, into a directory."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ablations import figures, results, statistics
from ablations.config import RunConfig
from core import fusion
from core.rng import Rng, SeedRng
from tasks import TASKS, Task
from tasks.base import Evaluation
from trainers import checkpoint
from trainers.trainer import Trainer

#: steps between looks at whether the losses are still finite, and between moves of the progress bar
STRIDE = 20


class Diverged(RuntimeError):
    """Training produced a loss that is not a number."""


@dataclass
class Outcome:
    """What one run left in memory, to be written."""

    trainer: Trainer
    rng: SeedRng
    evaluations: list[tuple[int, Evaluation]] = field(default_factory=list)
    losses: list[tuple[int, dict[str, np.ndarray]]] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0


def train(run: RunConfig, task: Task, device: torch.device) -> Outcome:
    """Train all seeds of a run together and evaluate them; ctrl-C ends training early and keeps what there is."""
    trainer = Trainer(
        run.parts, run.trainer, task.spec, run.seeds, needs_critic=run.selection.needs_critic, device=device
    )
    outcome = Outcome(trainer, SeedRng(run.seeds, "train", device))
    dataset = task.dataset().to(device)
    steps, every = run.budget.steps, run.budget.eval_every or run.budget.steps
    began = time.perf_counter()
    with tqdm(total=steps, desc=run.label, unit="step", file=sys.stderr) as bar:
        try:
            while trainer.step < steps:
                due = min(steps, (trainer.step // every + 1) * every)
                stride = min(STRIDE, due - trainer.step)
                losses = trainer.train(dataset, stride, outcome.rng)
                _refuse_divergence(run, losses, trainer.step)
                bar.update(stride)
                if trainer.step == due:
                    _look(run, task, outcome, losses)
        except KeyboardInterrupt:
            outcome.interrupted = True
    if not outcome.evaluations or outcome.evaluations[-1][0] != trainer.step:
        _look(run, task, outcome, {})
    outcome.seconds = time.perf_counter() - began
    return outcome


def _look(run: RunConfig, task: Task, outcome: Outcome, losses: dict[str, Tensor]) -> None:
    trainer = outcome.trainer

    @torch.no_grad()
    def act(obs: Tensor, rng: Rng) -> Tensor:
        return run.selection(trainer.policy, trainer.target_critic, obs, rng)

    # every evaluation of a run meets the same draws, so that a curve shows the policy and not the noise
    rng = SeedRng(run.seeds, "evaluate", outcome.rng.device)
    outcome.evaluations.append((trainer.step, task.evaluate(act, rng, len(run.seeds))))
    if losses:
        outcome.losses.append((trainer.step, {name: loss.cpu().numpy() for name, loss in losses.items()}))


def _refuse_divergence(run: RunConfig, losses: dict[str, Tensor], step: int) -> None:
    for name, loss in losses.items():
        bad = [seed for seed, value in zip(run.seeds, loss.tolist(), strict=True) if not np.isfinite(value)]
        if bad:
            raise Diverged(
                f"{run.label}: {name} of seed {', '.join(map(str, bad))} is not finite at step {step}; "
                "try a smaller --trainer.lr or --trainer.critic-lr, or --trainer.grad-norm 5"
            )


def write(run: RunConfig, outcome: Outcome, task: Task, directory: Path) -> None:
    """The files of one run, into a directory that exists."""
    parameters = sum(p.numel() for p in outcome.trainer.policy.parameters()) // len(run.seeds)
    record = {
        **run.record(),
        "steps_done": outcome.trainer.step,
        "interrupted": outcome.interrupted,
        "policy_parameters": parameters,
        "policy_forwards_per_action": outcome.trainer.policy.forwards_per_action,
        "seconds": round(outcome.seconds, 1),
        "environment": results.environment(),
    }
    results.write_json(directory / "config.json", record)
    metrics = [(step, evaluation.metrics) for step, evaluation in outcome.evaluations]
    results.tidy(record, metrics).to_csv(directory / "metrics.csv", index=False)
    results.tidy(record, outcome.losses).to_csv(directory / "training.csv", index=False)
    reference = {f"reference_{name}": array for name, array in task.reference().samples.items()}
    samples = {**outcome.evaluations[-1][1].samples, **reference}
    np.savez_compressed(directory / "samples.npz", **samples)  # type: ignore[arg-type]
    checkpoint.save(directory / "checkpoint.pt", outcome.trainer, outcome.rng)


def compare(runs: list[RunConfig], directory: Path, device: torch.device) -> str:
    """Carry out runs one after another into `directory`; returns the table of what came out.

    One run fills `directory` itself; several fill one subdirectory each, beside the figure that shows them all.
    """
    task = TASKS[runs[0].task]()
    with results.new_directory(directory) as partial:
        done = []
        for run in runs:
            place = partial if len(runs) == 1 else partial / run.label
            place.mkdir(exist_ok=True)
            outcome = train(run, task, device)
            write(run, outcome, task, place)
            done.append(run.label)
            if outcome.interrupted:
                break
        if len(runs) > 1:
            results.write_json(partial / "comparison.json", {"runs": done})
        return report(partial, task)


def report(directory: Path, task: Task) -> str:
    """Draw the figure of a run or a comparison into its directory and return its table."""
    summary = statistics.summarise(results.load_metrics(directory))
    summary.to_csv(directory / "summary.csv", index=False)
    figures.draw_samples(directory, summary, directory / "figure.png")
    reference = {metric: float(values[0]) for metric, values in task.reference().metrics.items()}
    return figures.table(summary, reference)


def fuse_if_it_pays(choice: str, runs: list[RunConfig]) -> str | None:
    """Set the fused activation as asked: auto uses it where gradients run through long enough sampling.

    Returns one line to show where a compiler was wanted and there is none.
    """
    pays = any(run.parts.improvement.needs_reparameterised and run.budget.steps >= 500 for run in runs)
    if choice == "off" or (choice == "auto" and not pays):
        fusion.fuse(False)
        return None
    try:
        fusion.fuse()
    except Exception as error:  # the compiler's errors have no common base
        fusion.fuse(False)
        return f"no working C++ compiler ({type(error).__name__}): activations run unfused, a little slower"
    return None
