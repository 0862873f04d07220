"""The published methods as rows: which parts, and the options that make each of them what it is. Pure data.

A preset names the method's parts and the numbers that belong to the method (weights, thresholds, how many samples).
What every method is given alike (network, batch, learning rate, noise schedule) it leaves to the task, so that a
comparison stays one; where the authors' own are part of reproducing their numbers they are in `as_released`, beside
the deviations of the released code from its paper. The default is the paper's form; `note` says what differs, from
the release and from the paper. Options are named as on the command line; the name of a part may stand among
them and swaps that part.
"""

from __future__ import annotations

from typing import Any

from ablations.preset import Preset, RewardRule, parts
from tasks.kinds import ONE_AT_GOAL
from tasks.protocol import DIFFUSION_QL


def _cloning(policy: str, paper: str, note: str = "The class's own loss alone; no critic.", **options: Any) -> Preset:
    return Preset(parts(policy, "bc", "none", "clipped-double-q", "one"), paper, note, options)


#: TD3's targets: moved with every second critic step, when the policy is
_DELAYED = {"trainer.policy_every": 2, "trainer.tau_every": 2, "trainer.ema_every": 2, "trainer.ema_start": 0}
#: a target policy that follows from the first step, every step
_FOLLOWING = {"trainer.ema_every": 1, "trainer.ema_start": 0}
#: Diffusion-QL's release, EDP's and those built on them leave the target policy at its random start for 1000 steps
_KEEPING = {"trainer.ema_before": "keep"}
#: BCQ, whatever is perturbed
_BCQ = {
    "policy.phi": 0.05,
    "improvement.eta": 1.0,
    "improvement.head": "first",
    "improvement.normalizer": "none",
    "backup.samples": 10,
    "backup.pessimism": 0.75,
    "selection.candidates": 100,
    **_FOLLOWING,
}
#: the networks and batches of TD3+BC and IQL
_RELU = {"network.hidden": 256, "network.depth": 2, "network.activation": "relu", "trainer.batch": 256}
#: what the release of Diffusion-QL does and its paper does not say; shared by the methods built on its code
_DIFFUSION_QL_RELEASE = {
    "improvement.normalizer": "other-head",
    "selection": "softmax-q",
    "selection.candidates": 50,
    "selection.temperature": 1.0,
    **_KEEPING,
}

PRESETS: dict[str, Preset] = {
    "bc-deterministic": _cloning("deterministic", "Pomerleau 1991"),
    "bc-gaussian": _cloning("gaussian", "arXiv 1812.05905 (the tanh-squashed density)", **{"policy.bound": "tanh"}),
    "bc-mixture": _cloning("mixture", "Bishop 1994, Mixture density networks"),
    "bc-cvae": _cloning("cvae", "arXiv 1812.02900"),
    "bc-diffusion": _cloning("diffusion", "arXiv 2208.06193", "As released: no EMA, no clipping, one sample."),
    "bc-edm": _cloning("edm", "arXiv 2206.00364"),
    "bc-flow": _cloning("flow", "arXiv 2210.02747"),
    "bc-consistency": _cloning("consistency", "arXiv 2303.01469"),
    "diffusion-ql": Preset(
        parts("diffusion", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2208.06193",
        "Paper: Q is divided by the mean |Q| of the data's actions, and acting takes one sample. Release: by the other "
        "head's at the policy's actions, and a softmax over 50 candidates. eta, max-q backup, grad-norm: per task.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin"},
        _DIFFUSION_QL_RELEASE,
        protocol=DIFFUSION_QL,
    ),
    "cvae-ql": Preset(
        parts("cvae", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2208.06193, table 2",
        "The paper's ablation: Diffusion-QL with a CVAE for the diffusion model. Not in the release.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin"},
        _DIFFUSION_QL_RELEASE,
        protocol=DIFFUSION_QL,
    ),
    "edm-ql": Preset(
        parts("edm", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2206.00364 and 2208.06193",
        "Diffusion-QL with EDM's preconditioning and sampler; not a published method.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin"},
        _DIFFUSION_QL_RELEASE,
        protocol=DIFFUSION_QL,
    ),
    "td3+bc": Preset(
        parts("deterministic", "squared-error", "q-max", "clipped-double-q", "mode"),
        "arXiv 2106.06860",
        "The release standardises observations (--task.observation z-score).",
        {
            "improvement.eta": 2.5,
            "improvement.head": "first",
            "improvement.normalizer": "own-head",
            "backup.noise": 0.2,
            "backup.noise_clip": 0.5,
            **_DELAYED,
        },
        {**_RELU, "task.observation": "z-score"},
    ),
    "bcq": Preset(
        parts("perturbed", "bc", "q-max", "soft-clipped", "argmax-q"),
        "arXiv 1812.02900",
        "Q reaches the perturbation alone. The release acts by the first head of the critic, here by the smallest "
        "target head, and its targets perturb samples of the current VAE, here of its average; layers are "
        "400-300 (750-750 in the VAE), here all alike.",
        {"policy.base": "cvae", **_BCQ},
        {
            "network.hidden": 400,
            "network.depth": 2,
            "network.activation": "relu",
            "trainer.batch": 100,
            "trainer.lr": 1e-3,
            "trainer.critic_lr": 1e-3,
        },
    ),
    "bcq-diffusion": Preset(
        parts("perturbed", "bc", "q-max", "soft-clipped", "argmax-q"),
        "arXiv 2208.06193, table 2",
        "BCQ with a diffusion model for its CVAE, the paper's ablation. Not in the release.",
        {"policy.base": "diffusion", **_BCQ},
    ),
    "bear": Preset(
        parts("gaussian", "mmd", "q-max", "soft-clipped", "argmax-q"),
        "arXiv 1906.00949",
        "The release leaves Q out of the first 20,000 steps, draws log alpha's start from N(0, 1) (here 0) and gives "
        "alpha a learning rate of 1e-3 (here the critic's). Its ensemble penalty is off, as in the release.",
        {
            "policy.bound": "tanh",
            "regularizer.kernel": "laplacian",
            "regularizer.convention": "bear",
            "regularizer.bandwidth": 20.0,
            "regularizer.samples": 10,
            "regularizer.pre_tanh": True,
            "regularizer.against": "behaviour",
            "regularizer.behaviour": "cvae",
            "regularizer.multiplier": "learned",
            "regularizer.threshold": 0.05,
            "improvement.eta": 1.0,
            "improvement.head": "min",
            "improvement.normalizer": "none",
            "improvement.samples": 10,
            "backup.samples": 10,
            "backup.pessimism": 0.75,
            "selection.candidates": 10,
            **_FOLLOWING,
        },
        {"trainer.bonus_start": 20_000, "trainer.critic_lr": 1e-3, "trainer.lr": 1e-3},
        released_budget={"steps": 40_000},
    ),
    "iql": Preset(
        parts("gaussian", "bc", "weighted", "expectile", "mode"),
        "arXiv 2110.06169",
        "tau 0.7 and beta 1/3 are the locomotion tasks' (antmaze: 0.9 and 1/10). The release rescales rewards on "
        "locomotion and antmaze. Its Gaussian, with one deviation for all states and an unsquashed density around a "
        "tanh mean, is not here.",
        {
            "policy.bound": "tanh",
            "improvement.form": "exp",
            "improvement.baseline": "value",
            "improvement.beta": 1 / 3,
            "improvement.clip": 100.0,
            "backup.expectile": 0.7,
        },
        _RELU,
        (
            RewardRule("locomotion", "iql-locomotion", ("halfcheetah", "hopper", "walker2d")),
            RewardRule("antmaze", "iql-antmaze", reward=ONE_AT_GOAL),
        ),
    ),
    "awr": Preset(
        parts("gaussian", "bc", "weighted", "clipped-double-q", "mode"),
        "arXiv 1910.00177",
        "The paper's advantage is a TD(lambda) return less V; here min Q(s, a) less its mean over the policy's.",
        {
            "policy.bound": "tanh",
            "improvement.form": "exp",
            "improvement.baseline": "sample-mean",
            "improvement.beta": 1.0,
            "improvement.clip": 20.0,
            "improvement.samples": 10,
        },
    ),
    "crr-diffusion": Preset(
        parts("diffusion", "bc", "weighted", "clipped-double-q", "one"),
        "arXiv 2006.15134 (CRR, binary) and 2305.20081 (with diffusion)",
        "The class's own loss on actions better than the policy's mean. EDP's release weights a unit Gaussian's "
        "log-density around the one-step prediction by exp(A) and adds the unweighted loss; here exp(A) alone.",
        {"improvement.form": "binary", "improvement.baseline": "sample-mean", "improvement.samples": 4},
        {
            "improvement.form": "exp",
            "improvement.beta": 1.0,
            "improvement.clip": 20.0,
            "improvement.samples": 10,
            **_KEEPING,
        },
    ),
    "edp": Preset(
        parts("diffusion", "bc", "one-step", "clipped-double-q", "softmax-q"),
        "arXiv 2305.20081",
        "The paper samples by DPM-Solver-3 in 15 steps, here by the second-order multistep solver; Q's noised action "
        "is drawn apart from the loss's, which changes no expectation.",
        {
            "policy.T": 1000,
            "policy.schedule": "linear",
            "policy.sampler": "dpm++2m",
            "policy.sample_steps": 15,
            "improvement.eta": 2.0,
            "improvement.head": "coin",
            "improvement.normalizer": "own-head",
            "selection.candidates": 10,
            "trainer.grad_norm": 5.0,
        },
        _KEEPING,
    ),
    "sfbc": Preset(
        parts("diffusion", "bc", "none", "max-q", "softmax-q"),
        "arXiv 2209.14548",
        "The paper's critic is planned in sample, towards a softmax over the behaviour's actions; the nearest backup "
        "here is the largest Q of 16 samples.",
        {"backup.samples": 16, "selection.candidates": 32, "selection.temperature": 1.0},
    ),
    "idql": Preset(
        parts("diffusion", "bc", "none", "expectile", "argmax-q"),
        "arXiv 2304.10573",
        "The release sums the noise loss over dimensions (the mean here differs by a factor, which Adam does not see), "
        "with dropout 0.1 in a residual network; N is swept over 16, 64, 256.",
        {"backup.expectile": 0.7, "selection.candidates": 64},
        {"trainer.batch": 512},
    ),
    "fql": Preset(
        parts("distilled", "bc", "q-max", "mean", "one"),
        "arXiv 2502.02538",
        "alpha is per task, 1 to 30,000. Targets act by the student itself, not by an average of it.",
        {
            "policy.base": "flow",
            "improvement.eta": 1.0,
            "improvement.head": "mean",
            "improvement.normalizer": "none",
            "critic.layer_norm": True,
            "trainer.ema_decay": 0.0,
            **_FOLLOWING,
        },
        {"network.hidden": 512, "network.depth": 4, "network.activation": "gelu", "trainer.batch": 256},
    ),
    "consistency-ac": Preset(
        parts("consistency", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2309.16984",
        "Diffusion-QL with a consistency policy. The release has a teacher at the neighbouring noise level; here "
        "it is the network itself.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin", "policy.steps": 2},
        _DIFFUSION_QL_RELEASE,
    ),
}
