"""Training one run and judging it, into a directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ablations import frozen, results
from ablations.config import RunConfig
from ablations.progress import Progress
from ablations.protocols import LOSS
from ablations.stopping import EarlyStop
from ablations.views import View
from core import fusion, native
from core.bars import progress_bar
from core.options import OptionError
from core.rng import Rng, SeedRng, seed_generator
from policies import Policy
from tasks import Task
from tasks.base import Evaluation
from trainers import captured, checkpoint
from trainers.annealing import ANNEALINGS
from trainers.trainer import Trainer

#: steps between looks at whether the losses are still finite, and between moves of the progress bar
STRIDE = 20
#: steps from which building the kernels, some five seconds once on a machine, is earned back
WORTH_BUILDING = 500
#: steps of one run from which compiling for a GPU, some thirty seconds for a class's sizes, is earned back
WORTH_COMPILING = 50_000


class Diverged(RuntimeError):
    """Training produced a loss that is not a number."""


@dataclass
class Outcome:
    """What one run left in memory, to be written."""

    trainer: Trainer
    rng: SeedRng
    #: step, and what each view of the run scored there
    evaluations: list[tuple[int, list[Evaluation]]] = field(default_factory=list)
    losses: list[tuple[int, dict[str, np.ndarray]]] = field(default_factory=list)
    interrupted: bool = False
    stopping: EarlyStop | None = None
    seconds: float = 0.0


def train(run: RunConfig, task: Task, device: torch.device, directory: Path) -> Outcome:
    """Train all seeds of a run together and evaluate them; ctrl-C ends training early and keeps what there is.

    `directory`: where the run will be; beside it is kept how far training has come, and taken up from.
    """
    steps, every = run.budget.steps, run.budget.eval_every or run.budget.steps
    annealing = ANNEALINGS[run.budget.lr_decay](steps, every)
    trainer = Trainer(
        run.parts, run.trainer, task.spec, run.seeds, needs_critic=run.needs_critic, annealing=annealing, device=device
    )
    frozen.give(run, trainer)
    stopping = EarlyStop(trainer) if run.budget.early_stop else None
    outcome = Outcome(trainer, SeedRng(run.seeds, "train", device), stopping=stopping)
    progress = Progress(run, directory, device)
    progress.restore(outcome)
    captured.replay(trainer)
    dataset = task.dataset().to(device)
    began = time.perf_counter() - outcome.seconds
    with progress_bar(total=steps, initial=trainer.step, desc=run.label, unit="step") as bar:
        _show(bar, outcome)
        try:
            while trainer.step < steps and not (stopping and len(stopping.halted) == len(run.seeds)):
                due = min(steps, (trainer.step // every + 1) * every)
                stride = min(STRIDE, due - trainer.step)
                losses = trainer.train(dataset, stride, outcome.rng)
                _refuse_divergence(run, losses, trainer.step, stopping.halted if stopping else [])
                bar.update(stride)
                if trainer.step == due:
                    bar.set_postfix_str("judging")
                    _look(run, task, outcome, losses)
                    _show(bar, outcome)
                outcome.seconds = time.perf_counter() - began
                progress.keep(outcome)
        except KeyboardInterrupt:
            outcome.interrupted = True
    if not outcome.evaluations or outcome.evaluations[-1][0] != trainer.step:
        _look(run, task, outcome, {})
    outcome.seconds = time.perf_counter() - began
    if not outcome.interrupted:
        progress.keep(outcome, done=True)
    return outcome


def _show(bar: tqdm, outcome: Outcome) -> None:
    """The headline of the latest evaluation, beside the bar."""
    if outcome.evaluations:
        step, (first, *_) = outcome.evaluations[-1]
        name, values = next(iter(first.metrics.items()))
        bar.set_postfix_str(f"{name.replace('_', ' ')} {np.mean(values):.3g} at {step}")


def _look(run: RunConfig, task: Task, outcome: Outcome, losses: dict[str, Tensor]) -> None:
    if outcome.stopping:
        outcome.stopping.put_back()
    scores = [_judge(run, view, task, outcome) for view in run.views]
    outcome.evaluations.append((outcome.trainer.step, scores))
    record = _measured(outcome, losses)
    if record:
        outcome.losses.append((outcome.trainer.step, record))
    if outcome.stopping and LOSS in record:
        outcome.stopping.consider(record[LOSS])


def _measured(outcome: Outcome, losses: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """The latest losses and the mean of the regularizer since the last look, `[S]`."""
    mean = outcome.trainer.mean_penalty()
    measured = losses if mean is None else {**losses, LOSS: mean}
    record = {name: loss.cpu().numpy().copy() for name, loss in measured.items()}
    for values in record.values():
        # of training that was undone
        values[outcome.stopping.halted if outcome.stopping else []] = np.nan
    return record


def _judge(run: RunConfig, view: View, task: Task, outcome: Outcome) -> Evaluation:
    trainer = outcome.trainer
    policy = _resampled(run, view, task, trainer)

    @torch.no_grad()
    def act(obs: Tensor, rng: Rng) -> Tensor:
        return view.selection(policy, trainer.critics(), obs, rng)

    # every evaluation of a run meets the same draws, so that a curve shows the policy and not the noise
    rng = SeedRng(run.seeds, "evaluate", outcome.rng.device)
    try:
        with fusion.passes(trainer.device):
            return task.evaluate(act, rng, len(run.seeds))
    except FloatingPointError as error:
        raise Diverged(f"{run.label}: {error} at step {trainer.step}") from None


def _resampled(run: RunConfig, view: View, task: Task, trainer: Trainer) -> Policy:
    """The trained policy, or a twin with its weights and the view's sampler."""
    if view.policy is None:
        return trainer.acting_policy
    twin = view.policy.build(
        task.spec, run.parts.network_of("policy"), [seed_generator(seed, "init") for seed in run.seeds]
    )
    weights = next(trainer.policy.parameters())
    twin.to(weights.device, weights.dtype).load_state_dict(trainer.acting_policy.state_dict())
    return twin


def _forwards(run: RunConfig, view: View, task: Task, trainer: Trainer) -> int:
    """Passes through the policy's network that one action of this view costs."""
    return _resampled(run, view, task, trainer).forwards_per_action * getattr(view.selection, "candidates", 1)


def _refuse_divergence(run: RunConfig, losses: dict[str, Tensor], step: int, halted: Sequence[int]) -> None:
    """`halted`: places of seeds that train on only because the others do."""
    # one wait for the device, not one for each loss
    finite = [loss.isfinite().all() for loss in losses.values()]
    if not finite or torch.stack(finite).all():
        return
    for name, loss in losses.items():
        bad = [run.seeds[i] for i, value in enumerate(loss.tolist()) if not np.isfinite(value) and i not in halted]
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
        "views": [{**view.record(), "forwards": _forwards(run, view, task, outcome.trainer)} for view in run.views],
        "steps_done": outcome.trainer.step,
        "halted": [run.seeds[place] for place in outcome.stopping.halted] if outcome.stopping else [],
        "interrupted": outcome.interrupted,
        "policy_parameters": parameters,
        "policy_forwards_per_action": outcome.trainer.policy.forwards_per_action,
        "seconds": round(outcome.seconds, 1),
        "physics": task.physics,
        "environment": {**results.environment(), **_made_by(outcome.trainer.device)},
    }
    results.write_json(directory / "config.json", record)
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
    for index, scored in enumerate(outcome.evaluations[-1][1]):
        samples |= {f"{name}_{index}": array for name, array in scored.samples.items()}
    np.savez_compressed(directory / "samples.npz", **samples)  # type: ignore[arg-type]
    checkpoint.save(directory / "checkpoint.pt", outcome.trainer, outcome.rng)


def _made_by(device: torch.device) -> dict[str, Any]:
    replayed = fusion.replays() and device.type == "cuda"
    return {"device": str(device), "compiled": fusion.fused(), "replayed": replayed}


def fuse_if_it_pays(choice: str, runs: list[RunConfig], device: torch.device) -> str | None:
    """Set compiling as asked: auto does where it is done already, or the run is long enough, or for bf16.

    A GPU's steps are replayed unless the choice is off. Returns one line to show where a compiler was wanted and there
    is none. On the CPU only the kernels have bf16, so asking for it without them raises `OptionError`.
    """
    precision = runs[0].precision
    half = precision == "bf16"
    needed = half and device.type == "cpu"
    if needed and (choice == "off" or not native.has_half()):
        why = "needs --compile" if choice == "off" else "needs a processor with avx512_bf16 instructions"
        raise OptionError(f"--precision bf16: {why} on the CPU; use float32")
    fusion.fuse(False, precision, replay=choice != "off")
    if choice == "off" or (choice == "auto" and not (half or _compiling_pays(runs, device))):
        return None
    try:
        if device.type == "cuda":
            fusion.try_out(device)
        fusion.fuse(True, precision)
    except fusion.NoCompiler as error:
        if needed:
            raise OptionError(f"--precision bf16: no working C++ compiler ({error}); use float32") from None
        slower = ", several times slower" if device.type == "cpu" else ""
        return f"no working C++ compiler ({error}): training runs uncompiled{slower}"
    return None


def _compiling_pays(runs: list[RunConfig], device: torch.device) -> bool:
    steps = [run.budget.steps for run in runs]
    if device.type == "cpu":
        return fusion.ready() or sum(steps) >= WORTH_BUILDING
    # every class and size is compiled for itself
    return max(steps) >= WORTH_COMPILING
