"""Whether a run's numbers make sense together: pure sentences about its options, its parts and its length.

An option is right or wrong only beside the others: an average that begins at step 1,000 is wrong in a run of 1,000
steps. `refusal` names what contradicts what the run is called (Q that never enters, a policy that is never trained);
`doubts` names what may be meant, in one sentence each. Neither reads data nor trains. The defaults of every task and
preset give no sentence (tests/test_sense.py).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from ablations.plan.config import RunConfig
from core.options import OptionError
from policies.perturbed import PerturbedConfig
from trainers.annealing import ANNEALINGS

#: a target that holds more than this share of its start is said
LEFT = 0.05
#: a policy that has had less than this share of its steps is as good as its start
EARLY = 0.05
#: Q that has its full weight for less than this share of the steps is said
FULL = 0.1


def refuse_senseless(runs: Sequence[RunConfig]) -> None:
    """Raise `OptionError` for the first run whose options contradict each other."""
    for run in runs:
        problem = refusal(run)
        if problem:
            raise OptionError(problem)


def lines_of(runs: Sequence[RunConfig]) -> list[str]:
    """Every note and doubt once, with the labels of the runs that it is of."""
    labels: dict[str, list[str]] = {}
    for run in runs:
        for line in (*run.notes, *doubts(run)):
            labels.setdefault(line, []).append(run.label)
    return [f"{', '.join(of)}: {line}" for line, of in labels.items()]


def refusal(run: RunConfig) -> str | None:
    """What about the run cannot be meant, in one sentence with what would be accepted; None where nothing is."""
    return next(itertools.chain(_untrained(run), _without_q(run), _never_stopping(run)), None)


def doubts(run: RunConfig) -> list[str]:
    """What about the run may not be meant, each in one sentence."""
    found = (_policy, _q, _target_policy, _target_critic, _discount, _evaluations, _learning_rates)
    return [sentence for of in found for sentence in of(run)]


def _untrained(run: RunConfig) -> Iterator[str]:
    steps, trainer = run.budget.steps, run.trainer
    if not trainer.policy_steps(steps):
        yield (
            f"--trainer.policy-every {trainer.policy_every}: the policy takes no step in {_steps(steps)}; "
            f"use --steps {trainer.policy_every} or more, or a smaller --trainer.policy-every"
        )
    if run.parts.regularizer.coef == 0 and not run.parts.improvement.adds_bonus:
        yield (
            f"--regularizer.coef 0 with improvement {run.names['improvement']} leaves the policy nothing to learn "
            "from; use more than 0, or --improvement q-max"
        )


def _without_q(run: RunConfig) -> Iterator[str]:
    if not run.parts.improvement.adds_bonus or not run.trainer.policy_steps(run.budget.steps):
        return
    if run.trainer.bonus_weight(run.trainer.last_policy_step(run.budget.steps)) == 0:
        yield (
            f"--trainer.bonus-start {run.trainer.bonus_start}: Q never enters the policy's loss in "
            f"{_steps(run.budget.steps)}, so that improvement {run.names['improvement']} would do nothing; use --steps "
            f"above {run.trainer.bonus_start}, or a smaller --trainer.bonus-start"
        )


def _never_stopping(run: RunConfig) -> Iterator[str]:
    every, steps = run.budget.eval_every, run.budget.steps
    if run.budget.early_stop and (every is None or every >= steps):
        yield (
            f"--early-stop compares evaluations and there is one, at the end of {_steps(steps)}; use --eval-every "
            f"below {steps / 2:g}"
        )


def _policy(run: RunConfig) -> Iterator[str]:
    steps, trainer = run.budget.steps, run.trainer
    if steps > 1 and trainer.policy_steps(steps) == 1:
        yield f"the policy takes one step in {_steps(steps)} (--trainer.policy-every {trainer.policy_every})"


def _q(run: RunConfig) -> Iterator[str]:
    """Q has a weight, and for long enough."""
    improvement, policy, trainer, steps = run.parts.improvement, run.parts.policy, run.trainer, run.budget.steps
    if not improvement.adds_bonus:
        return
    if getattr(improvement, "eta", None) == 0:
        yield "--improvement.eta 0 gives Q no weight: the policy learns by its regularizer alone"
    if isinstance(policy, PerturbedConfig) and policy.phi == 0:
        yield "--policy.phi 0 perturbs nothing: Q changes no action of the policy"
    full, reached = trainer.bonus_start + trainer.bonus_ramp, trainer.bonus_weight(trainer.last_policy_step(steps))
    if reached < 1:
        yield (
            f"Q ends at {_share(reached)} of its weight: --trainer.bonus-start {trainer.bonus_start} and "
            f"--trainer.bonus-ramp {trainer.bonus_ramp} end after {_steps(steps)}"
        )
    elif full > (1 - FULL) * steps:
        yield f"Q has its full weight from step {full} of {steps} on: the policy learns nearly all without it"


def _target_policy(run: RunConfig) -> Iterator[str]:
    """The target policy moves, its average begins, and little is left of what it began as."""
    if not run.asks_target_policy:
        return
    trainer, steps = run.trainer, run.budget.steps
    averages, copied = trainer.target_policy_updates(steps)
    every = f"--trainer.ema-decay {trainer.ema_decay:g} {_every(trainer.ema_every)}"
    if not averages and trainer.ema_start >= steps:
        what = "stays at its random start" if copied is None else "copies the policy and is never an average"
        yield (
            f"the target policy {what} in {_steps(steps)}, as --trainer.ema-start {trainer.ema_start} is not before "
            "their end"
        )
        return
    left, early = trainer.ema_decay**averages, copied is None or copied < EARLY * steps
    if early and left > LEFT:
        start = "its random start" if copied is None else f"the policy of step {copied}"
        yield (
            f"{_share(left)} of the target policy is still {start} after {_steps(steps)} ({every} from step "
            f"{trainer.ema_start}); use more --steps or a smaller --trainer.ema-decay"
        )
    elif trainer.ema_decay == 1:
        yield f"the target policy stays as it is at step {copied}: --trainer.ema-decay 1 never moves it"


def _target_critic(run: RunConfig) -> Iterator[str]:
    """Little is left of the target critic's random start, where anything asks it."""
    acts_by_it = any(view.selection.needs_critic for view in run.views)
    asked = run.asks_beyond_one_step or acts_by_it or run.parts.improvement.asks_target
    if not run.trains_critic or not asked:
        return
    trainer, steps = run.trainer, run.budget.steps
    left = (1 - trainer.tau) ** trainer.target_critic_updates(steps)
    if left > LEFT:
        yield (
            f"{_share(left)} of the target critic is still its random start after {_steps(steps)} (--trainer.tau "
            f"{trainer.tau:g} {_every(trainer.tau_every)}); use more --steps or a larger --trainer.tau"
        )


def _discount(run: RunConfig) -> Iterator[str]:
    if run.asks_beyond_one_step and getattr(run.transforms, "discount", None) == 1:
        yield (
            "--task.discount 1 leaves values without a bound where the data have no terminal states; a time limit is "
            "none"
        )


def _evaluations(run: RunConfig) -> Iterator[str]:
    every, steps = run.budget.eval_every, run.budget.steps
    if every is not None and every > steps:
        yield f"--eval-every {every} is more than --steps {steps}: there is one evaluation, at the end"
    if every is not None and every < steps <= 2 * every and run.budget.early_stop:
        yield f"--early-stop can stop nothing: the second evaluation is at the end (--eval-every {every})"


def _learning_rates(run: RunConfig) -> Iterator[str]:
    """A schedule falls, and does not come back."""
    steps, every = run.budget.steps, run.budget.eval_every or run.budget.steps
    annealing = ANNEALINGS[run.budget.lr_decay](steps, every)
    if annealing is None or steps == 1:
        return
    factors = [annealing(step) for step in range(0, steps, max(1, steps // 1000))]
    last = annealing(steps - 1)
    what = f"--lr-decay {run.budget.lr_decay}"
    if last == annealing(0):
        yield f"{what} falls once an evaluation and there is one, at the end, so rates never fall; add --eval-every"
    elif min(factors) < last:
        yield f"{what} falls once an evaluation, too often here: rates rise again after they have reached 0"


def _share(share: float) -> str:
    return f"{100 * share:.0f}%"


def _every(count: int) -> str:
    return "every step" if count == 1 else f"every {count} steps"


def _steps(count: int) -> str:
    return "one step" if count == 1 else f"{count} steps"
