"""Defaults are right together, for every task and preset; and what the user makes senseless is said, or refused."""

from __future__ import annotations

import pytest
import torch
from builders import POLICY_OF, double_rng, make_batch, make_trainer, small_config
from hypothesis import given
from hypothesis import strategies as st

from ablations.command.cli import parse
from ablations.plan import sense
from ablations.plan.config import make_run
from ablations.plan.presets import PRESETS
from ablations.plan.request import Request
from ablations.plan.studies import STUDIES
from core.options import OptionError
from critics import BACKUPS
from run_ablation import main
from tasks import make_task, task_names
from trainers import IMPROVEMENTS, TrainerConfig

#: of Minari's names, which anyone can add to, one stands for all: nothing here reads data
MINARI = "minari:mujoco/hopper/medium-v0"
TASKS = [*task_names(), MINARI]
#: by preset (each as its paper and as released), and by what is trained without one
METHODS = [
    *[{"preset": name} for name in PRESETS],
    *[{"preset": name, "as_released": True} for name, row in PRESETS.items() if row.as_released],
    *[{"names": {"policy": policy, "improvement": "q-max"}} for policy in ("gaussian", "diffusion")],
    {"names": {"policy": "gaussian", "improvement": "none"}},
    {"names": {"policy": "gaussian", "improvement": "weighted"}},
]
HOPPER = "hopper-medium-v2"


def sentences(request):
    """All that the check says of a run, refusal first."""
    run = make_run(request)
    return [*filter(None, [sense.refusal(run)]), *sense.doubts(run)]


def check_defaults(method, tasks, **changed):
    """The test of defaults: nothing is said of them on any task; `changed`: what of a request is not the default."""
    rules = method.get("as_released") and PRESETS[method["preset"]].released_rewards
    asks_next = "preset" in method and BACKUPS[PRESETS[method["preset"]].parts["backup"]].needs_next_act
    for task in tasks:
        if rules and task == MINARI:  # what it is, only its data say: tests/test_kinds.py
            continue
        if asks_next and not (make_task(task).has_next_actions or make_task(task).one_step):  # refused
            continue
        found = sentences(Request(task, **{**method, **changed}))
        assert not found, f"{task}: {found}"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
def test_every_default_makes_sense_beside_the_others(method):
    check_defaults(method, TASKS)


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_makes_sense(study):
    assert sense.lines_of(parse(["--study", study]).runs) == []


@pytest.mark.parametrize("before", ["keep", "follow"])
@pytest.mark.parametrize("method", [{"preset": "diffusion-ql"}, {"names": {"policy": "gaussian"}}, {"preset": "awr"}])
def test_the_check_fails_with_the_defaults_of_old(method, before):
    """An average from step 1,000 on, in runs of 1,000 steps: the target policy never left its random start."""
    old = {"options": {"trainer.ema_start": 1000, "trainer.ema_before": before}, "budget": {"steps": 1000}}
    with pytest.raises(AssertionError, match=r"--trainer\.ema-start 1000 is not before their end"):
        check_defaults(method, [HOPPER, "local:hopper-medium"], **old)
    check_defaults(method, ["bandit"], **old)


def test_the_check_fails_with_the_steps_of_old():
    with pytest.raises(AssertionError, match="8% of the target policy is still its random start"):
        check_defaults({"preset": "td3+bc"}, [HOPPER], budget={"steps": 1000})


SENTENCES = {
    "--steps 300": "22% of the target critic is still its random start after 300 steps (--trainer.tau 0.005 every",
    "--trainer.tau 1e-6": "100% of the target critic is still its random start",
    "--trainer.tau-every 5000": "100% of the target critic is still its random start",
    "--steps 1000": "the target policy copies the policy and is never an average in 1000 steps",
    "--steps 1000 --trainer.ema-before keep": "the target policy stays at its random start in 1000 steps",
    "--trainer.ema-start 5000 --trainer.ema-before keep": "the target policy stays at its random start",
    "--trainer.ema-start 0 --trainer.ema-every 20": "29% of the target policy is still its random start",
    "--trainer.ema-start 1 --trainer.ema-decay 0.999": "37% of the target policy is still the policy of step 0",
    "--trainer.ema-start 0 --trainer.ema-every 6000": "100% of the target policy is still its random start",
    "--trainer.ema-start 0 --trainer.ema-decay 1": "100% of the target policy is still its random start",
    "--trainer.ema-decay 1": "the target policy stays as it is at step 995: --trainer.ema-decay 1 never moves it",
    "--trainer.policy-every 5000": "the policy takes one step in 5000 steps",
    "--trainer.bonus-ramp 10000": "Q ends at 50% of its weight",
    "--trainer.bonus-start 4000 --trainer.bonus-ramp 900": "Q has its full weight from step 4900 of 5000 on",
    "--improvement.eta 0": "--improvement.eta 0 gives Q no weight",
    "--policy perturbed --policy.phi 0": "--policy.phi 0 perturbs nothing",
    "--task.discount 1": "--task.discount 1 leaves values without a bound",
    "--eval-every 6000": "--eval-every 6000 is more than --steps 5000: there is one evaluation, at the end",
    "--eval-every 2500 --early-stop": "--early-stop can stop nothing: the second evaluation is at the end",
    "--lr-decay as-released": "--lr-decay as-released falls once an evaluation and there is one, at the end",
    "--lr-decay as-released --eval-every 100": "falls once an evaluation, too often here: rates rise again",
}
SILENT = [
    "",
    "--bc-only --steps 1",
    "--backup reward-only --selection one --steps 10",
    "--backup expectile --trainer.ema-decay 0.995 --trainer.acting average",
    "--lr-decay",
    "--lr-decay as-released --eval-every 1000",
    "--eval-every 2000 --early-stop",
    "--trainer.bonus-start 2000 --trainer.bonus-ramp 1000",
    "--task.discount 0.999",
    "--task bandit --steps 20",
]


def command(options):
    """On hopper, of a Gaussian, unless said otherwise."""
    words = options.split()
    return [
        *([] if "--task" in words else ["--task", HOPPER]),
        *([] if "--policy" in words else ["--policy", "gaussian"]),
        *words,
    ]


@pytest.mark.parametrize("options", SENTENCES)
def test_what_may_not_be_meant_is_said_in_one_sentence(options):
    lines = sense.lines_of(parse(command(options)).runs)
    assert sum(SENTENCES[options] in line for line in lines) == 1
    assert all("\n" not in line and len(line.split(": ", 1)[1].split()) <= 35 for line in lines)


@pytest.mark.parametrize("options", SILENT)
def test_what_makes_sense_is_not_spoken_of(options):
    assert sense.lines_of(parse(command(options)).runs) == []


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--trainer.bonus-start 5000 --steps 60", "--trainer.bonus-start 5000: Q never enters the policy's loss in 60"),
        ("--trainer.bonus-start 60 --steps 60", "use --steps above 60, or a smaller --trainer.bonus-start"),
        ("--trainer.bonus-start 3 --trainer.policy-every 4 --steps 4", "Q never enters"),
        ("--preset bear --as-released --steps 20000", "--trainer.bonus-start 20000: Q never enters"),
        ("--trainer.policy-every 8 --trainer.delay last --steps 7", "the policy takes no step in 7 steps"),
        ("--regularizer.coef 0 --improvement none", "--regularizer.coef 0 with improvement none leaves the policy"),
        ("--early-stop --eval-every 60 --steps 60", "--early-stop compares evaluations and there is one"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(options, why, refused):
    assert why in refused(
        "--task", HOPPER, *([] if "--preset" in options else ["--policy", "gaussian"]), *options.split()
    )


def test_one_step_later_q_enters():
    parse(command("--trainer.bonus-start 59 --steps 60"))
    with pytest.raises(OptionError, match="Q never enters"):
        parse(command("--trainer.bonus-start 59 --steps 60 --trainer.policy-every 2"))


def test_runs_of_which_the_same_is_said_share_a_line():
    runs = parse(
        ["--task", HOPPER, "--policy", "gaussian", "flow", "--improvement", "none", "q-max", "--steps", "300"]
    ).runs
    lines = sense.lines_of(runs)
    assert [line.split(": ")[0] for line in lines] == ["gaussian-q-max, flow-q-max"] * 2


def test_it_is_said_before_training_and_the_run_is_made(tmp_path, capsys):
    tiny = (
        "--policy gaussian --selection argmax-q:candidates=2 --steps 4 --seeds 0 --network.hidden 8 --trainer.batch 4"
    )
    assert main([*tiny.split(), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert said.index("98% of the target critic is still its random start") < said.index("results go to")


@pytest.mark.parametrize("name", [name for name, kind in IMPROVEMENTS.items() if kind.needs_critic])
def test_which_improvement_asks_the_target_critic(name):
    """A target critic of nans shows in the terms of those that ask it, and of no other."""
    trainer = make_trainer(small_config(POLICY_OF.get(name, "diffusion")), (0, 1), name)
    with torch.no_grad():
        for parameter in trainer.target_critic.parameters():
            parameter.fill_(float("nan"))
    terms = trainer.improvement(trainer.policy, trainer.critics(), make_batch(), double_rng((0, 1)))
    own = 0 if terms.own is None else terms.own
    assert bool((terms.weight + terms.bonus + own).isnan().any()) == trainer.parts.improvement.asks_target


options = st.builds(
    TrainerConfig,
    policy_every=st.integers(1, 7),
    delay=st.sampled_from(["first", "last"]),
    bonus_start=st.integers(0, 40),
    bonus_ramp=st.integers(0, 40),
    tau_every=st.integers(1, 7),
    ema_decay=st.floats(0, 1),
    ema_every=st.integers(1, 7),
    ema_start=st.integers(0, 60),
    ema_before=st.sampled_from(["keep", "follow"]),
)


@given(options, st.integers(1, 50))
def test_what_is_counted_is_what_the_trainer_does(config, steps):
    """Closed forms against a walk through the steps, by what the trainer asks at each."""
    offset = config.delay == "last"
    trained = [step for step in range(steps) if (step + offset) % config.policy_every == 0]
    assert config.policy_steps(steps) == len(trained)
    if trained:
        assert config.last_policy_step(steps) == trained[-1]
    assert config.target_critic_updates(steps) == sum((step + offset) % config.tau_every == 0 for step in range(steps))
    share_of_start, copied = 1.0, None
    for step in range(steps):
        rate = config.target_policy_rate(step)
        assert rate in (0.0, 1.0, 1 - config.ema_decay)
        if step < config.ema_start and rate == 1:
            share_of_start, copied = 1.0, step
        else:
            share_of_start *= 1 - rate
    averages, counted = config.target_policy_updates(steps)
    assert counted == copied
    assert share_of_start == pytest.approx(config.ema_decay**averages, abs=1e-12)
