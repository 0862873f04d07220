"""The published methods as rows: which parts, and the options that make each of them what it is. Pure data.

A preset names the method's parts and the numbers that belong to the method (weights, thresholds, how many samples).
What every method is given alike (network, batch, learning rate, noise schedule) it leaves to the task, so that a
comparison stays one; where the authors' own are part of reproducing their numbers they are in `as_released`, beside
the deviations of the released code from its paper. The default is the paper's form; `note` says what differs, from
the release and from the paper. Options are named as on the command line; the name of a part may stand among
them and swaps that part.
"""

from __future__ import annotations

from ablations.plan import releases
from ablations.plan.beside import BESIDE
from ablations.plan.beside import QAM as _OF_QAM
from ablations.plan.in_sample import IN_SAMPLE
from ablations.plan.preset import Preset, parts
from tasks.protocol import DIFFUSION_QL

#: TD3's targets: moved with every second critic step, when the policy is
_DELAYED = {"trainer.policy_every": 2, "trainer.tau_every": 2, "trainer.ema_every": 2, "trainer.ema_start": 0}
#: a target policy that follows from the first step, every step
_FOLLOWING = {"trainer.ema_every": 1, "trainer.ema_start": 0}
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
#: QSM and DAC as in qam
_QAM = {**_OF_QAM, "trainer.common_noise": True}
#: what the release of Diffusion-QL does and its paper does not say; shared by the methods built on its code
_DIFFUSION_QL_RELEASE = {
    "improvement.normalizer": "other-head",
    "selection": "softmax-q",
    "selection.candidates": 50,
    "selection.temperature": 1.0,
    # the target policy stays at its random start for 1000 steps
    "trainer.ema_before": "keep",
}

PRESETS: dict[str, Preset] = {
    **IN_SAMPLE,
    "diffusion-ql": Preset(
        parts("diffusion", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2208.06193",
        "Paper: Q is divided by the mean |Q| of the data's actions, and acting takes one sample. Release: by the other "
        "head's at the policy's actions, and a softmax over 50 candidates. eta, max-q backup, grad-norm: per task.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin"},
        _DIFFUSION_QL_RELEASE,
        protocol=DIFFUSION_QL,
        golden="diffusion_ql",
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
        releases.TD3_BC,
        golden="td3_bc",
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
    "edp": Preset(
        parts("diffusion", "bc", "one-step", "clipped-double-q", "softmax-q"),
        "arXiv 2305.20081",
        "Q's noised action is drawn apart from the loss's, which changes no expectation; the release draws it once.",
        {
            "policy.T": 1000,
            "policy.schedule": "linear",
            "policy.sampler": "dpm-3s",
            "policy.sample_steps": 15,
            "improvement.eta": 2.0,
            "improvement.head": "coin",
            "improvement.normalizer": "own-head",
            "selection.candidates": 10,
            "trainer.grad_norm": 5.0,
        },
        releases.EDP,
        golden="edp",
    ),
    "fql": Preset(
        parts("distilled", "bc", "q-max", "mean", "one"),
        "arXiv 2502.02538",
        "alpha is per task, 1 to 30,000. Targets act by the student itself, not by an average of it. The release has "
        "one Adam for all, and one noise for distillation and Q.",
        {
            "policy.base": "flow",
            "improvement.eta": 1.0,
            "improvement.head": "mean",
            "improvement.normalizer": "none",
            "critic.layer_norm": True,
            "trainer.next_actions": "current",
        },
        releases.FQL,
        golden="fql",
    ),
    "consistency-ac": Preset(
        parts("consistency", "bc", "q-max", "clipped-double-q", "one"),
        "arXiv 2309.16984",
        "Diffusion-QL with a consistency policy. The release's teacher is the average, its levels grow from 2 to 150 "
        "in each 50,000 steps, and its loss is 100 times ours. eta, grad-norm and q_norm (--critic.normalize-target): "
        "per task.",
        {"improvement.normalizer": "dataset", "improvement.head": "coin", "policy.steps": 2},
        {**_DIFFUSION_QL_RELEASE, **releases.CONSISTENCY_AC},
        released_budget={"steps": 50_000},
        golden="consistency_ac",
    ),
    "rebrac": Preset(
        parts("deterministic", "squared-error", "q-max", "penalised", "mode"),
        "arXiv 2305.09836",
        "TD3+BC with a second penalty, on the next action of the critic's target, and LayerNorm. Both weights are per "
        "task, from 0.001 to 0.1 and 0 to 0.5. Release: seohongpark/fql.",
        {
            "regularizer.coef": 0.01,
            "regularizer.reduction": "sum",
            "improvement.eta": 1.0,
            "improvement.head": "min",
            "improvement.normalizer": "own-head",
            "backup.coef": 0.01,
            "backup.noise": 0.2,
            "backup.noise_clip": 0.5,
            "critic.layer_norm": True,
            **_DELAYED,
        },
        releases.REBRAC,
        golden="rebrac",
    ),
    "qsm": Preset(
        parts("diffusion", "bc", "score-matching", "lower-bound", "one"),
        "arXiv 2312.11752",
        "The offline form of ColinQiyangLi/qam, with the class's own loss beside; eta and the weight of that loss are "
        "per task, 1 to 10 and 1 to 30 there.",
        {"regularizer.coef": 10.0, "improvement.eta": 3.0, **_QAM},
        releases.QSM,
        golden="qsm",
    ),
    "dac": Preset(
        parts("diffusion", "bc", "soft-guidance", "lower-bound", "one"),
        "arXiv 2405.20555",
        "The form of ColinQiyangLi/qam: the weight of the class's own loss is fixed, per task, and Q is not divided by "
        "its size. The authors' code adapts that weight, divides by mean |Q|, and acts by the best of ten.",
        {"regularizer.coef": 1.0, "improvement.eta": 1.0, "improvement.form": "soft", **_QAM},
        releases.DAC,
        golden="dac_qam",
    ),
    "srpo": Preset(
        parts("deterministic", "score", "action-gradient", "expectile", "mode"),
        "arXiv 2310.07297",
        "Behaviour diffusion, critic and policy are trained beside one another; the release trains the first two for "
        "1.5 million steps, then the policy against both, fixed. eta (its beta) is per task, 0.01 to 0.5.",
        {
            "regularizer.behaviour": "sde",
            "regularizer.weight": "sigma-squared",
            "regularizer.less_noise": True,
            "improvement.eta": 0.05,
            "backup.expectile": 0.7,
        },
        releases.SRPO,
        released_budget={"lr_decay": "cosine"},
        golden="srpo",
    ),
    **BESIDE,
}
