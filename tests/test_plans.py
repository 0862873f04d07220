"""Plans are data: to a file and back, to runs, their records and back, nothing changes; what no plan can be is said."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.command.cli import parse
from ablations.plan.making import make, together
from ablations.plan.plan import Plan
from ablations.plan.presets import PRESETS
from ablations.plan.studies import STUDIES
from ablations.record.recipe import plan_of_records
from core.options import OptionError

#: an option -> its levels, and what must be chosen for it to have a use
OPTIONS = {
    "policy.T": st.lists(st.integers(2, 9), min_size=1, max_size=2, unique=True),
    "improvement.eta": st.lists(st.floats(0.1, 9), min_size=1, max_size=2, unique=True),
    "trainer.lr": st.floats(1e-5, 1e-2).map(lambda rate: [rate]),
    "network.hidden": st.integers(4, 64).map(lambda units: [units]),
    "critic.layer_norm": st.booleans().map(lambda on: [on]),
}
#: with diffusion and q-max among them every option above has a use
plans = st.builds(
    Plan,
    task=st.sampled_from(["bandit", "bandit:ring", "hopper-medium-v2"]),
    policy=st.lists(st.sampled_from(["gaussian", "cvae", "flow"]), max_size=2, unique=True).map(
        lambda names: ["diffusion", *names]
    ),
    improvement=st.lists(st.sampled_from(["none", "weighted"]), max_size=2, unique=True).map(
        lambda names: ["q-max", *names]
    ),
    selection=st.sampled_from([(), "one", ["one", "argmax-q:candidates=3"]]),
    options=st.fixed_dictionaries({}, optional=OPTIONS),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True),
    steps=st.none() | st.integers(500, 9000),
    eval_every=st.none() | st.integers(100, 500),
    skip_impossible=st.just(True),
)


def records(plan: Plan) -> list[dict]:
    """Of the runs of a plan, as they are written and read."""
    return json.loads(json.dumps([run.record() for run in together(make(plan).runs)]))


@settings(max_examples=20, deadline=None)
@given(plans)
def test_a_plan_outlives_a_file_and_its_own_runs(plan):
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    made = records(plan)
    assert records(again) == made
    assert records(plan_of_records(made)) == made


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_its_record(name):
    study = STUDIES[name]
    made = records(study)
    assert records(Plan.from_dict(json.loads(json.dumps(study.to_dict())))) == made
    assert records(plan_of_records(made, name)) == made
    assert {record["label"].partition(",")[0] for record in made} == set(study.arms)


@pytest.mark.parametrize("released", [False, True])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_its_record(name, released):
    if released and not PRESETS[name].as_released:
        pytest.skip("nothing is released otherwise")
    made = records(Plan(task="hopper-medium-v2", preset=name, as_released=released))
    assert records(plan_of_records(made)) == made


@pytest.mark.parametrize(
    ("command", "plan"),
    [
        ("--policy diffusion --bc-only", Plan(policy="diffusion", bc_only=True)),
        (
            "--policy flow cvae --improvement none q-max --improvement.eta 1 3 --seeds 0 1 2",
            Plan(
                policy=["flow", "cvae"],
                improvement=["none", "q-max"],
                options={"improvement.eta": [1, 3]},
                seeds=range(3),
            ),
        ),
        (
            "--policy perturbed --policy.base flow --policy.base.steps 5 9",
            Plan(policy="perturbed", options={"policy.base": "flow", "policy.base.steps": [5, 9]}),
        ),
        (
            "--preset iql --task hopper-medium-v2 --selection one argmax-q:candidates=5 --steps 70",
            Plan(preset="iql", task="hopper-medium-v2", selection=["one", "argmax-q:candidates=5"], steps=70),
        ),
    ],
)
def test_a_command_and_its_plan_are_the_same_runs(command, plan):
    assert [run.record() for run in parse(command.split()).runs] == [run.record() for run in together(make(plan).runs)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"polcy": "flow"}, "did you mean policy?"),
        ({"policy": "difusion"}, "did you mean diffusion?"),
        ({"policy": 3}, "policy must be a name or a list of names"),
        ({"preset": "bqc"}, "did you mean bcq?"),
        ({"selection": "argmax"}, "did you mean argmax-q?"),
        ({"task": "bandid"}, "bandit"),
        ({"seeds": []}, "seeds must be whole numbers"),
        ({"seeds": [0, 0]}, "named more than once"),
        ({"options": {"T": 5}}, "must be part.option"),
        ({"options": {"policy.TT": 5}}, "did you mean policy.T?"),
        ({"options": {"policy.T": "five"}}, "--policy.T must be a whole number"),
        ({"options": {"policy.T": 0}}, "--policy.T must be at least"),
        ({"options": {"policy.T": []}}, "an option without a value"),
        ({"options": {"policy.T": {}}}, "is not a number"),
        ({"options": {"improvement.eta": 1.0}, "improvement": "none"}, "improvement.eta"),
        ({"options": {"policy.base": "flo"}, "policy": "perturbed"}, "did you mean flow?"),
        ({"arms": {"a": {"colour": 1}}}, "arm a"),
        ({"arms": []}, "arms must be a table"),
        ({"bc_only": True, "improvement": "q-max"}, "exclude each other"),
        ({"as_released": True}, "--as-released is of a preset"),
    ],
)
def test_what_is_no_plan_is_said(said, told):
    with pytest.raises(OptionError) as error:
        make(Plan.from_dict(said))
    assert told in str(error.value)
    assert "\n" not in str(error.value)
