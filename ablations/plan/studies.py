"""Studies: sets of runs that answer one question. Lists of commands, no loops.

Each run is what one would type after `python run_ablation.py`, so every number of a study can be had by a command of
its own. `common` comes first, the run's own options next, and what the user adds last.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Study:
    """`runs`: label -> options; `figures`: names of the figures in `ablations.figures` to draw of them."""

    question: str
    common: str
    runs: dict[str, str]
    figures: tuple[str, ...] = ("samples",)


EXPRESSIVENESS = Study(
    question="How well can each policy class represent a behaviour with four modes?",
    common="--task bandit --bc-only --steps 100000 --eval-every 10000",
    runs={
        "diffusion": "--policy diffusion",
        "gaussian": "--policy gaussian",
        "cvae": "--policy cvae",
    },
)

COUPLING = Study(
    question="What does each class do when the same Q pulls it, everything else being equal?",
    common="--task bandit --improvement q-max --improvement.eta 2.5 --steps 20000 --eval-every 2000",
    runs={
        "diffusion": "--policy diffusion",
        "gaussian": "--policy gaussian",
        "cvae": "--policy cvae",
    },
)

#: the trained chain sampled again: each sampler in 2 to 50 steps
SAMPLERS = " ".join(
    f"sampler={sampler},sample-steps={steps}"
    for sampler in ("ddpm", "ddim", "dpm++2m", "sde-dpm++2m")
    for steps in (2, 5, 10, 20, 50)
)
#: and the continuous-time policy: an Euler step costs one pass of the network, a Heun step two, but for the last
EDM_SAMPLERS = " ".join(
    [f"sampler=euler,sample-steps={steps}" for steps in (2, 5, 10, 20, 50)]
    + [f"sampler=heun,sample-steps={steps}" for steps in (2, 3, 5, 10, 25)]
)

#: with every noise level weighted alike, x0 and v spend their effort where sampling has little use for it
MIN_SNR = "--policy.weighting min-snr"

DENOISING = Study(
    question="What do the number of steps, the schedule, the target and the sampler each do to a diffusion policy?",
    common="--task bandit --bc-only --steps 6000 --trainer.lr 1e-3",
    runs={
        "vp-T50-epsilon": f"--policy.T 50 --resample {SAMPLERS}",
        "edm": f"--policy edm --resample {EDM_SAMPLERS}",
        **{
            f"{schedule}-T{T}-epsilon": f"--policy.schedule {schedule} --policy.T {T}"
            for T in (5, 10, 20, 50)
            for schedule in ("vp", "cosine", "sigmoid", "linear-rescaled")
            if (schedule, T) != ("vp", 50)
        },
        **{
            f"{schedule}-T20-{target}": f"--policy.schedule {schedule} --policy.T 20 --policy.target {target} {MIN_SNR}"
            for target in ("x0", "v")
            for schedule in ("vp", "cosine", "sigmoid", "linear-rescaled")
        },
    },
    figures=("denoising",),
)

CLASSES = ("diffusion", "edm", "flow", "consistency", "mixture", "gaussian", "cvae", "deterministic")
#: acting by one sample, and as the release of Diffusion-QL does
AS_RELEASED = "--selection one softmax-q:candidates=50"

#: a gradient through EDM's own sampler (Heun, 35 passes, no fused chain) would take four hours
SAMPLED = {policy: policy for policy in CLASSES} | {"edm": "edm --policy.sampler euler --policy.sample-steps 20"}

METHODS = Study(
    question="Is it the policy class, the regularizer, or the coupling with Q? And what do the published methods do?",
    common="--task bandit --steps 100000 --eval-every 20000",
    runs={
        **{f"{policy}-bc": f"--policy {SAMPLED[policy]} --bc-only" for policy in CLASSES},
        # on the bandit Diffusion-QL and the paper's CVAE-QL are the first and the last but one of these
        **{
            f"{policy}-q-max": f"--policy {SAMPLED[policy]} --improvement q-max --improvement.eta 2.5"
            + (f" {AS_RELEASED}" if policy in ("diffusion", "cvae") else "")
            for policy in CLASSES
        },
        **{name: f"--preset {name}" for name in ("td3+bc", "bcq", "bear", "fql", "idql")},
    },
    figures=("methods", "samples"),
)


#: one eta is not one strength: the classes' cloning losses have scales of their own
STRENGTH = Study(
    question="How far from the data does each class go for how much reward, whatever the strength of Q?",
    common="--task bandit --improvement q-max --improvement.eta 0.03 0.1 0.3 1 3 10 --steps 6000 --trainer.lr 1e-3",
    runs={
        "diffusion": "--policy diffusion --policy.T 20",
        **{policy: f"--policy {policy}" for policy in CLASSES if policy not in ("diffusion", "edm")},
    },
    figures=("sweep", "samples"),
)


#: the same five temperatures with Q learned and with Q exact
FRONTIER = Study(
    question="Whose reward is nearest the most there is at its distance from the data, and is the gap the critic's?",
    common="--task bandit:ring --improvement weighted --improvement.beta 0.1 0.3 1 3 10 --improvement.clip 10000 "
    "--critic learned exact --steps 4000 --trainer.lr 1e-3 --trainer.batch 256",
    runs={
        "diffusion": "--policy diffusion --policy.T 20",
        # more Gaussians than the behaviour has
        "mixture": "--policy mixture --policy.components 16",
        **{policy: f"--policy {policy}" for policy in ("flow", "consistency", "cvae", "gaussian")},
    },
    figures=("frontier", "sweep", "samples"),
)


def _learning(task: str, budget: str) -> Study:
    """Cloning against Diffusion-QL on an MDP: what Q adds in training, and what acting by it adds to that."""
    return Study(
        question=f"Does Q improve on the behaviour on {task}, and is it training by Q or acting by it?",
        common=f"--task {task} --eval-every 5000 {budget}",
        runs={
            "bc-diffusion": "--preset bc-diffusion",
            "diffusion-ql": "--preset diffusion-ql --selection one softmax-q:candidates=50",
        },
        figures=("curves",),
    )


STUDIES: dict[str, Study] = {
    "expressiveness": EXPRESSIVENESS,
    "coupling": COUPLING,
    "denoising": DENOISING,
    "methods": METHODS,
    "strength": STRENGTH,
    "frontier": FRONTIER,
    # small networks and batches, for long enough that Q has spread along episodes
    "learning-hopper": _learning(
        "local:hopper-medium-replay", "--steps 100000 --network.hidden 128 --trainer.batch 128 --trainer.grad-norm 5"
    ),
    "learning-pointmaze": _learning("local:pointmaze-umaze", "--steps 20000"),
}
