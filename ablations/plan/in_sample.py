"""Methods that stay with actions that are there: cloning, weighted regression, a choice among the behaviour's own.

Rows of `ablations.plan.presets`. Pure data.
"""

from __future__ import annotations

from typing import Any

from ablations.plan import releases
from ablations.plan.preset import Preset, RewardRule, parts
from tasks.kinds import ONE_AT_GOAL


def _cloning(policy: str, paper: str, note: str = "The class's own loss alone; no critic.", **options: Any) -> Preset:
    return Preset(parts(policy, "bc", "none", "clipped-double-q", "one"), paper, note, options)


#: EDP's release, on which CRR's is built, leaves the target policy at its random start for 1000 steps
_KEEPING = {"trainer.ema_before": "keep"}

IN_SAMPLE: dict[str, Preset] = {
    "bc-deterministic": _cloning("deterministic", "Pomerleau 1991"),
    "bc-gaussian": _cloning("gaussian", "arXiv 1812.05905 (the tanh-squashed density)", **{"policy.bound": "tanh"}),
    "bc-mixture": _cloning("mixture", "Bishop 1994, Mixture density networks"),
    "bc-cvae": _cloning("cvae", "arXiv 1812.02900"),
    "bc-diffusion": _cloning("diffusion", "arXiv 2208.06193", "As released: no EMA, no clipping, one sample."),
    "bc-edm": _cloning("edm", "arXiv 2206.00364"),
    "bc-flow": _cloning("flow", "arXiv 2210.02747"),
    "bc-consistency": _cloning("consistency", "arXiv 2303.01469"),
    "bc-energy": _cloning(
        "energy",
        "arXiv 2109.00137",
        "Told from 32 actions even over the box. The release has, by task, 8 drawn by 100 Langevin steps "
        "(--policy.others langevin), a penalty of the energy's slope, spectral norms, and 512 candidates, cooled down.",
    ),
    "iql": Preset(
        parts("gaussian", "bc", "weighted", "expectile", "mode"),
        "arXiv 2110.06169",
        "tau 0.7 and beta 1/3 are the locomotion tasks' (antmaze: 0.9 and 1/10). The release rescales rewards on "
        "locomotion and antmaze; its Gaussian has one deviation for all states around a tanh mean, not squashed, and a "
        "rate that falls to 0.",
        {
            "policy.bound": "tanh",
            "improvement.form": "exp",
            "improvement.baseline": "value",
            "improvement.beta": 1 / 3,
            "improvement.clip": 100.0,
            "backup.expectile": 0.7,
        },
        releases.IQL,
        (
            RewardRule("locomotion", "iql-locomotion", ("halfcheetah", "hopper", "walker2d")),
            RewardRule("antmaze", "iql-antmaze", reward=ONE_AT_GOAL),
        ),
        released_budget={"lr_decay": "cosine"},
        golden="iql",
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
    "sfbc": Preset(
        parts("diffusion", "bc", "none", "softmax-q", "softmax-q"),
        "arXiv 2209.14548",
        "The release plans values backwards along each trajectory, twice, with alpha 20 and 100 on normalised returns; "
        "here its softmax over the behaviour's own actions is the target of every step, at temperature 1 as acting is.",
        {
            "backup.samples": 16,
            "backup.temperature": 1.0,
            "selection.candidates": 32,
            "selection.temperature": 1.0,
        },
    ),
    "dipo": Preset(
        parts("diffusion", "bc", "edit-data", "clipped-double-q", "one"),
        "arXiv 2305.13122",
        "An online method: its buffer keeps the actions it moved, which here are moved anew from the data in each "
        "batch. Its steps are Adam's, here of a fixed length.",
        {"improvement.steps": 20, "improvement.rate": 0.03, "improvement.normalize": True},
    ),
    "idql": Preset(
        parts("diffusion", "bc", "none", "expectile", "argmax-q"),
        "arXiv 2304.10573",
        "N is swept over 16, 64, 256. The release has a residual network with dropout (which its launcher leaves out, "
        "unlike its paper), AdamW, and a rate that falls to 0; it acts by an average.",
        {"backup.expectile": 0.7, "selection.candidates": 64},
        releases.IDQL,
        released_budget={"lr_decay": "cosine"},
        golden="idql",
    ),
    "ifql": Preset(
        parts("flow", "bc", "none", "expectile", "argmax-q"),
        "arXiv 2502.02538 (its baseline)",
        "IDQL with a flow for the diffusion. The expectile is per task, 0.7 to 0.95 in ColinQiyangLi/qam, whose V goes "
        "by a lower bound of ten heads; here by the smaller of two, as in seohongpark/fql.",
        {"critic.layer_norm": True, "backup.expectile": 0.9, "selection.candidates": 32},
    ),
}
