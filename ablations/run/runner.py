"""Training one run and evaluating it, into a directory."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ablations.plan.config import RunConfig
from ablations.record import results
from ablations.record.environment import environment
from ablations.record.integrity import FILES, bound, write_json
from ablations.record.results import LOSS
from ablations.run import evaluating, frozen, interrupts
from ablations.run.execution import Execution
from ablations.run.halting import Halting
from ablations.run.log import Log
from ablations.run.outcome import Outcome
from ablations.run.pace import Pace
from ablations.run.progress import Progress
from ablations.run.q_range import QRange
from core import fusion
from core.bars import progress_bar
from core.rng import SeedRng
from core.types import Transitions
from tasks import Task
from trainers import captured, checkpoint
from trainers.annealing import ANNEALINGS
from trainers.trainer import Trainer

#: steps between looks at whether the losses are still finite, and between moves of the progress bar
STRIDE = 20


def train(run: RunConfig, task: Task, directory: Path, execution: Execution, pace: Pace, log: Log) -> Outcome:
    """Train all seeds of a run together and evaluate them; a signal ends training early and keeps what there is.

    `directory`: where the run will be; beside it is kept how far training has come, and taken up from there.
    """
    device = execution.device
    annealing = ANNEALINGS[run.budget.lr_decay](run.budget.steps, _apart(run))
    trainer = Trainer(
        run.parts, run.trainer, task.spec, run.seeds, needs_critic=run.needs_critic, annealing=annealing, device=device
    )
    frozen.give(run, trainer, task)
    outcome = Outcome(trainer, SeedRng(run.seeds, "train", device), Halting(trainer, run.budget.early_stop), log)
    progress = Progress(run, directory, device, execution.every)
    log.begin(trainer.step, progress.restore(outcome))
    pace.begin(run, trainer.step)
    if not run.has_exact_critic:
        captured.replay(trainer)
    dataset = task.dataset().to(device)
    q_range = QRange(dataset)
    began = time.perf_counter() - outcome.seconds
    with progress_bar(total=run.budget.steps, initial=trainer.step, desc=pace.title(run), unit="step") as bar:
        _show(bar, outcome, pace)
        with interrupts.deferred():
            try:
                while _is_due(run, outcome) or (trainer.step < run.budget.steps and _goes_on(run, outcome)):
                    if _is_due(run, outcome):
                        bar.set_postfix_str("evaluating")
                        _look(run, task, outcome)
                    else:
                        _stride(run, outcome, dataset, bar, pace)
                        q_range.check(run, trainer.step, outcome.latest)
                    _show(bar, outcome, pace)
                    outcome.seconds = time.perf_counter() - began
                    progress.keep(outcome)
            except KeyboardInterrupt:
                outcome.interrupted = True
            # without a signal of ours it may be a step's middle that was cut off
            if not outcome.interrupted or interrupts.asked() is not None:
                progress.keep(outcome, now=True)
        _show_interrupted(run, task, outcome)
    log.end()
    outcome.seconds = time.perf_counter() - began
    return outcome


def _apart(run: RunConfig) -> int:
    """Steps between two evaluations."""
    return run.budget.eval_every or run.budget.steps


def _goes_on(run: RunConfig, outcome: Outcome) -> bool:
    """Whether a seed is left to train."""
    return len(outcome.halting.halted) < len(run.seeds)


def _is_due(run: RunConfig, outcome: Outcome) -> bool:
    """Whether the step that training stands at is to be evaluated."""
    step = outcome.trainer.step
    if step == _evaluated(outcome) or len(outcome.halting.diverged) == len(run.seeds):
        return False
    return step == run.budget.steps or (step > 0 and step % _apart(run) == 0) or not _goes_on(run, outcome)


def _evaluated(outcome: Outcome) -> int | None:
    """The step that was evaluated last."""
    return outcome.evaluations[-1][0] if outcome.evaluations else None


def _stride(run: RunConfig, outcome: Outcome, dataset: Transitions, bar: tqdm, pace: Pace) -> None:
    """Train to the next look at the losses, the same steps whether or not a signal ended a stride in its middle."""
    trainer, apart = outcome.trainer, _apart(run)
    since = trainer.step % apart
    begins, to_go = since % STRIDE == 0, min(STRIDE - since % STRIDE, apart - since, run.budget.steps - trainer.step)
    end = trainer.step + to_go
    outcome.latest = {} if begins else outcome.latest
    outcome.latest |= trainer.train(dataset, to_go, outcome.rng, interrupts.asked)
    bar.update(trainer.step - (end - to_go))
    pace.advance(run, trainer.step - (end - to_go))
    if trainer.step == end:
        for place in outcome.halting.watch(outcome.latest):
            _say_diverged(run, outcome, place)
        if outcome.log.is_due(end - to_go, end):
            outcome.log.losses(end, _values(outcome.latest, outcome))
    if interrupts.asked() is not None:
        raise KeyboardInterrupt


def _say_diverged(run: RunConfig, outcome: Outcome, place: int) -> None:
    how = outcome.halting.diverged[place]
    rest = "" if len(run.seeds) == 1 else "; the others go on" if _goes_on(run, outcome) else "; none is left"
    tqdm.write(f"{run.label}: seed {run.seeds[place]} diverged at step {how.step}: {how.reason}{rest}", sys.stderr)


def _show(bar: tqdm, outcome: Outcome, pace: Pace) -> None:
    """The headline of the latest evaluation, and the time left of a command of several runs, beside the bar."""
    said = []
    if outcome.evaluations:
        step, (first, *_) = outcome.evaluations[-1]
        name, values = next(iter(first.metrics.items()))
        finite = values[np.isfinite(values)]
        if len(finite):
            said.append(f"{name.replace('_', ' ')} {finite.mean():.3g} at {step}")
    if pace.left is not None:
        said.append(f"all: {tqdm.format_interval(pace.left)} left")
    bar.set_postfix_str(", ".join(said), refresh=False)


def _look(run: RunConfig, task: Task, outcome: Outcome) -> None:
    halting = outcome.halting
    halting.put_back()
    last = outcome.interrupted or outcome.trainer.step == run.budget.steps or not _goes_on(run, outcome)
    with interrupts.breakable():
        evaluated = [evaluating.evaluate(run, view, task, outcome.trainer, last) for view in run.views]
    for place, reason in [found for _, bad in evaluated for found in bad.items()]:
        if halting.halt(place, reason):
            _say_diverged(run, outcome, place)
    scores = [evaluating.without(scored, list(halting.diverged)) for scored, _ in evaluated]
    outcome.evaluations.append((outcome.trainer.step, scores))
    outcome.log.evaluations(outcome.trainer.step, scores)
    record = _measured(outcome)
    if record:
        outcome.losses.append((outcome.trainer.step, record))
    if LOSS in record:
        halting.consider(record[LOSS])


def _measured(outcome: Outcome) -> dict[str, np.ndarray]:
    """The latest losses and the mean of the regularizer since the last look, `[S]`."""
    mean = outcome.trainer.mean_penalty()
    measured = outcome.latest if mean is None else {**outcome.latest, LOSS: mean}
    return _values(measured, outcome)


def _values(measured: Mapping[str, torch.Tensor], outcome: Outcome) -> dict[str, np.ndarray]:
    """Losses `[S]` as arrays, without those of seeds that have halted."""
    record = {name: loss.cpu().numpy().copy() for name, loss in measured.items()}
    for values in record.values():
        # of training that was undone
        values[outcome.halting.halted] = np.nan
    return record


def _show_interrupted(run: RunConfig, task: Task, outcome: Outcome) -> None:
    """What ctrl-C ended in its training is evaluated where it stands, to be shown. Other signals want it gone."""
    by_hand = interrupts.asked() in (None, signal.SIGINT)
    if outcome.interrupted and by_hand and not _is_due(run, outcome) and _evaluated(outcome) != outcome.trainer.step:
        print(f"{run.label}: kept at step {outcome.trainer.step}; evaluates once more, then ends", file=sys.stderr)
        _look(run, task, outcome)


def write(run: RunConfig, outcome: Outcome, task: Task, directory: Path) -> None:
    """The files of one run, into a directory that exists."""
    parameters = sum(p.numel() for p in outcome.trainer.policy.parameters()) // len(run.seeds)
    record = {
        **run.record(),
        "views": [
            {**view.record(), "forwards": evaluating.forwards(run, view, task, outcome.trainer)} for view in run.views
        ],
        "steps_done": outcome.trainer.step,
        "halted": [run.seeds[place] for place in outcome.halting.stopped_early],
        "diverged": [
            {"seed": run.seeds[place], **asdict(how)} for place, how in sorted(outcome.halting.diverged.items())
        ],
        "interrupted": outcome.interrupted,
        "policy_parameters": parameters,
        "policy_forwards_per_action": outcome.trainer.policy.forwards_per_action,
        "seconds": round(outcome.seconds, 1),
        "physics": task.physics,
        "environment": {**environment(), **_made_by(outcome.trainer.device)},
    }
    of_views = [{"selection": view.selection_label, "sampler": view.sampler_label} for view in run.views]
    metrics = [
        (step, factors, scored.metrics)
        for step, scores in outcome.evaluations
        for factors, scored in zip(of_views, scores, strict=True)
    ]
    results.tidy(record, metrics).to_csv(directory / "metrics.csv", index=False)
    losses: list[tuple[int, dict[str, str], dict[str, np.ndarray]]] = [
        (step, {}, values) for step, values in outcome.losses
    ]
    results.tidy(record, losses).to_csv(directory / "training.csv", index=False)
    samples = {f"reference_{name}": array for name, array in task.reference().samples.items()}
    for index, scored in enumerate(outcome.evaluations[-1][1] if outcome.evaluations else []):
        samples |= {f"{name}_{index}": array for name, array in scored.samples.items()}
    np.savez_compressed(directory / "samples.npz", **samples)  # type: ignore[arg-type]
    outcome.log.put(directory)
    outcome.halting.mark_weights()
    checkpoint.save(directory / "checkpoint.pt", outcome.trainer, outcome.rng)
    write_json(directory / "config.json", {**record, FILES: bound(directory)})


def _made_by(device: torch.device) -> dict[str, Any]:
    replayed = fusion.replays() and device.type == "cuda"
    return {"device": str(device), "compiled": fusion.fused(), "replayed": replayed}
