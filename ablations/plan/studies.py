"""Studies: plans with a question. Each is data, and each of its runs can be had by a command of its own."""

from __future__ import annotations

from typing import Any

from ablations.plan.plan import Plan

EXPRESSIVENESS = Plan(
    name="expressiveness",
    question="How well can each policy class represent a behaviour with four modes?",
    bc_only=True,
    steps=100_000,
    eval_every=10_000,
    arms={policy: {"policy": policy} for policy in ("diffusion", "gaussian", "cvae")},
    figures=("samples",),
)

COUPLING = Plan(
    name="coupling",
    question="What does each class do when the same Q pulls it, everything else being equal?",
    improvement="q-max",
    options={"improvement.eta": 2.5},
    steps=20_000,
    eval_every=2_000,
    arms={policy: {"policy": policy} for policy in ("diffusion", "gaussian", "cvae")},
    figures=("samples",),
)

#: the trained chain sampled again: each sampler in 2 to 50 steps
SAMPLERS = [
    f"sampler={sampler},sample-steps={steps}"
    for sampler in ("ddpm", "ddim", "dpm++2m", "sde-dpm++2m")
    for steps in (2, 5, 10, 20, 50)
]
#: and the continuous-time policy: an Euler step costs one pass of the network, a Heun step two, but for the last
EDM_SAMPLERS = [
    *(f"sampler=euler,sample-steps={steps}" for steps in (2, 5, 10, 20, 50)),
    *(f"sampler=heun,sample-steps={steps}" for steps in (2, 3, 5, 10, 25)),
]
SCHEDULES = ("vp", "cosine", "sigmoid", "linear-rescaled")


def _denoising(schedule: str, T: int, target: str | None = None) -> dict[str, Any]:
    options: dict[str, Any] = {"policy.schedule": schedule, "policy.T": T}
    # with every noise level weighted alike, x0 and v spend their effort where sampling has little use for it
    return {"options": options | ({"policy.target": target, "policy.weighting": "min-snr"} if target else {})}


DENOISING = Plan(
    name="denoising",
    question="What do the number of steps, the schedule, the target and the sampler each do to a diffusion policy?",
    bc_only=True,
    steps=6_000,
    options={"trainer.lr": 1e-3},
    arms={
        "vp-T50-epsilon": {"options": {"policy.T": 50}, "resample": SAMPLERS},
        "edm": {"policy": "edm", "resample": EDM_SAMPLERS},
        **{
            f"{schedule}-T{T}-epsilon": _denoising(schedule, T)
            for T in (5, 10, 20, 50)
            for schedule in SCHEDULES
            if (schedule, T) != ("vp", 50)
        },
        **{
            f"{schedule}-T20-{target}": _denoising(schedule, 20, target)
            for target in ("x0", "v")
            for schedule in SCHEDULES
        },
    },
    figures=("denoising",),
)

CLASSES = ("diffusion", "edm", "flow", "consistency", "mixture", "gaussian", "cvae", "deterministic")
#: acting by one sample, and as the release of Diffusion-QL does
AS_RELEASED = ("one", "softmax-q:candidates=50")


def _sampled(policy: str, **options: Any) -> dict[str, Any]:
    """A class; a gradient through EDM's own sampler (Heun, 35 passes, no fused chain) would take four hours."""
    own = {"policy.sampler": "euler", "policy.sample_steps": 20} if policy == "edm" else {}
    return {"policy": policy, "options": own | options}


def _maximising(policy: str) -> dict[str, Any]:
    # on the bandit Diffusion-QL and the paper's CVAE-QL are the first and the last but one of these
    views = {"selection": AS_RELEASED} if policy in ("diffusion", "cvae") else {}
    return {**_sampled(policy, **{"improvement.eta": 2.5}), "improvement": "q-max", **views}


METHODS = Plan(
    name="methods",
    question="Is it the policy class, the regularizer, or the coupling with Q? And what do the published methods do?",
    steps=100_000,
    eval_every=20_000,
    arms={
        **{f"{policy}-bc": {**_sampled(policy), "bc_only": True} for policy in CLASSES},
        **{f"{policy}-q-max": _maximising(policy) for policy in CLASSES},
        **{name: {"preset": name} for name in ("td3+bc", "bcq", "bear", "fql", "idql")},
    },
    figures=("methods", "samples"),
)

#: one eta is not one strength: the classes' cloning losses have scales of their own
STRENGTH = Plan(
    name="strength",
    question="How far from the data does each class go for how much reward, whatever the strength of Q?",
    improvement="q-max",
    options={"improvement.eta": (0.03, 0.1, 0.3, 1.0, 3.0, 10.0), "trainer.lr": 1e-3},
    steps=6_000,
    arms={
        "diffusion": {"policy": "diffusion", "options": {"policy.T": 20}},
        **{policy: {"policy": policy} for policy in CLASSES if policy not in ("diffusion", "edm")},
    },
    figures=("sweep", "samples"),
)

#: the same five temperatures with Q learned and with Q exact
FRONTIER = Plan(
    name="frontier",
    question="Whose reward is nearest the most there is at its distance from the data, and is the gap the critic's?",
    task="bandit:ring",
    improvement="weighted",
    options={
        "improvement.beta": (0.1, 0.3, 1.0, 3.0, 10.0),
        "improvement.clip": 10_000.0,
        "critic.source": ("learned", "exact"),
        "trainer.lr": 1e-3,
        "trainer.batch": 256,
    },
    steps=4_000,
    arms={
        "diffusion": {"policy": "diffusion", "options": {"policy.T": 20}},
        # more Gaussians than the behaviour has
        "mixture": {"policy": "mixture", "options": {"policy.components": 16}},
        **{policy: {"policy": policy} for policy in ("flow", "consistency", "cvae", "gaussian")},
    },
    figures=("frontier", "sweep", "samples"),
)


def _learning(name: str, task: str, steps: int, **options: Any) -> Plan:
    """Cloning against Diffusion-QL on an MDP: what Q adds in training, and what acting by it adds to that."""
    return Plan(
        name=name,
        question=f"Does Q improve on the behaviour on {task}, and is it training by Q or acting by it?",
        task=task,
        steps=steps,
        eval_every=5_000,
        options=options,
        arms={
            "bc-diffusion": {"preset": "bc-diffusion"},
            "diffusion-ql": {"preset": "diffusion-ql", "selection": AS_RELEASED},
        },
        figures=("curves",),
    )


STUDIES: dict[str, Plan] = {
    "expressiveness": EXPRESSIVENESS,
    "coupling": COUPLING,
    "denoising": DENOISING,
    "methods": METHODS,
    "strength": STRENGTH,
    "frontier": FRONTIER,
    # small networks and batches, for long enough that Q has spread along episodes
    "learning-hopper": _learning(
        "learning-hopper",
        "local:hopper-medium-replay",
        100_000,
        **{"network.hidden": 128, "trainer.batch": 128, "trainer.grad_norm": 5.0},
    ),
    "learning-pointmaze": _learning("learning-pointmaze", "local:pointmaze-umaze", 20_000),
}
