"""Methods that train more beside the policy than a critic: a behaviour model, or a critic of latents.

And the baselines that are compared with them on the same ensemble. Rows of `ablations.plan.presets`. Pure data.
"""

from __future__ import annotations

from typing import Any

from ablations.plan import releases
from ablations.plan.preset import Preset, parts

#: an ensemble's lower bound, and targets that ask the policy itself: all methods of ColinQiyangLi/qam
QAM: dict[str, Any] = {
    "critic.heads": 10,
    "critic.layer_norm": True,
    "backup.rho": 0.5,
    "trainer.next_actions": "current",
}

BESIDE: dict[str, Preset] = {
    "qam": Preset(
        parts("flow", "none", "adjoint", "lower-bound", "one"),
        "arXiv 2601.14234",
        "eta is per task, 1 to 30 in the release. Its variants with an edit or a one-step student (QAM-E, QAM-F) are "
        "not here, nor its action chunks.",
        {"improvement.behaviour": "flow", "improvement.form": "lean", "improvement.eta": 1.0, **QAM},
        releases.QAM,
    ),
    "bam": Preset(
        parts("flow", "none", "adjoint", "lower-bound", "one"),
        "arXiv 2601.14234 (its baseline)",
        "QAM's aim, by the gradient through all steps of the flow. As released, the term of the behaviour is a sum "
        "over steps, not times their length.",
        {
            "improvement.behaviour": "flow",
            "improvement.form": "backprop",
            "improvement.rho": 0.5,
            "improvement.clip": False,
            "improvement.eta": 1.0,
            **QAM,
        },
        releases.QAM,
    ),
    "dsrl": Preset(
        parts("steered", "bc", "latent-q", "lower-bound", "one"),
        "arXiv 2506.15799",
        "The form of ColinQiyangLi/qam: the base is a flow that goes on learning, and latents are of its average. The "
        "scale is per task, 0.4 to 1.4. The release's log-deviations may fall to -20, here to -5.",
        {
            "policy.base": "flow",
            "policy.scale": 1.0,
            "policy.latents_of": "average",
            "improvement.entropy": -0.5,
            "improvement.heads": 10,
            "improvement.layer_norm": True,
            "trainer.ema_every": 1,
            "trainer.ema_start": 0,
            **QAM,
        },
        releases.DSRL,
    ),
    "dtql": Preset(
        parts("gaussian", "trust-region", "q-max", "expectile", "softmax-q"),
        "arXiv 2405.19690",
        "The weight of the trust region (alpha) is per task, 1 to 50 on locomotion, 1500 on pen. On antmaze the "
        "policy's likelihood is added (--regularizer.cloning 1). The release trains critic and diffusion alone for 50 "
        "epochs first, draws noise levels from a log-logistic, clips the denoised action, and its V sees the critic "
        "itself.",
        {
            "policy.bound": "tanh",
            "regularizer.behaviour": "edm",
            "regularizer.coef": 5.0,
            "improvement.eta": 1.0,
            "improvement.head": "min",
            "improvement.normalizer": "none",
            "backup.expectile": 0.7,
            "selection.candidates": 1024,
        },
    ),
    "qgpo": Preset(
        parts("sde", "bc", "energy-guidance", "softmax-q", "energy-guided"),
        "arXiv 2304.12824",
        "Behaviour, critic and energy are trained beside one another. The release trains the behaviour first, and "
        "draws its 16 actions for each state once. It samples by a solver of order 2, here of order 3. The scale of "
        "the energy is swept when it acts.",
        {
            "improvement.beta": 3.0,
            "improvement.samples": 16,
            "backup.samples": 16,
            "backup.temperature": 1.0,
            "selection.scale": 1.0,
        },
    ),
    "fbrac": Preset(
        parts("flow", "bc", "q-max", "lower-bound", "one"),
        "arXiv 2502.02538 and 2601.14234 (a baseline)",
        "Q through all steps of the flow. eta is 1 over the release's alpha, which is per task, 0.03 to 100.",
        {"improvement.eta": 1.0, "improvement.head": "mean", "improvement.normalizer": "none", **QAM},
    ),
    "fawac": Preset(
        parts("flow", "bc", "weighted", "lower-bound", "one"),
        "arXiv 2502.02538 and 2601.14234 (a baseline)",
        "The release learns V from the data's actions, and asks the mean of the heads. Here V is the mean over four "
        "actions of the policy, and the smallest head is asked. 1 / beta is per task, 0.8 or 6.4.",
        {
            "improvement.form": "exp",
            "improvement.baseline": "sample-mean",
            "improvement.beta": 1.25,
            "improvement.clip": 100.0,
            "improvement.samples": 4,
            **QAM,
        },
    ),
}
