"""What released code does beyond its paper, as options, tested against the releases' numbers (tests/test_releases.py).

Sizes are the releases' too. What no option says is in each preset's note.
"""

from __future__ import annotations

from typing import Any

#: hidden layers of 512 as in FQL's code and those built on it: GELU by tanh, and in the critic LayerNorm after it
_FQL_NETWORKS: dict[str, Any] = {
    "network.hidden": 512,
    "network.depth": 4,
    "network.norm_eps": 1e-6,
    "network.init": "fan-average",
    "critic.layer_norm": False,
    "critic.network.norm": "after",
    "critic.network.activation": "gelu-tanh",
    "critic.loss": "mean",
    "trainer.batch": 256,
}
#: one Adam for all, averages one step behind
_AT_ONCE = {"trainer.order": "together-lagging"}
#: layers of TD3+BC and IQL
RELU: dict[str, Any] = {
    "network.hidden": 256,
    "network.depth": 2,
    "network.activation": "relu",
    "trainer.batch": 256,
}
TD3_BC = {**RELU, "task.observation": "z-score", "trainer.delay": "last"}
IQL = {
    **RELU,
    "network.init": "orthogonal",
    "policy.bound": "mean",
    "policy.deviation": "shared",
    "trainer.annealed": "policy",
}
FQL = {**_FQL_NETWORKS, **_AT_ONCE, "network.activation": "gelu-tanh", "trainer.common_noise": True}
REBRAC = {
    **_FQL_NETWORKS,
    **_AT_ONCE,
    "network.activation": "gelu-tanh",
    "trainer.delay": "last",
    "trainer.coasting": True,
}
#: QSM and DAC as in qam
_QAM_DIFFUSION = {
    **_FQL_NETWORKS,
    **_AT_ONCE,
    "network.activation": "mish",
    "policy.T": 10,
    "policy.schedule": "vp",
    "policy.first_step": 1,
    "policy.time_features": "fourier",
    "policy.time_dim": 64,
    "policy.time_width": 512,
    "policy.time_depth": 4,
    "policy.ddpm_variance": "beta",
    "policy.clip_action": False,
    "trainer.grad_norm": 1.0,
    "trainer.clip_over": "all",
    "trainer.clip_rule": "optax",
}
QSM = {**_QAM_DIFFUSION, "policy.ddpm_mean": "clean", "policy.clip": False, "policy.clip_steps": True}
DAC = {**_QAM_DIFFUSION, "policy.ddpm_mean": "posterior", "policy.clip": True, "policy.clip_steps": False}
#: a flow tuned beside its behaviour, and one steered, as in qam
QAM = {
    **_FQL_NETWORKS,
    **_AT_ONCE,
    "network.activation": "gelu-tanh",
    "trainer.grad_norm": 1.0,
    "trainer.clip_over": "all",
    "trainer.clip_rule": "optax",
}
DSRL = {**_FQL_NETWORKS, **_AT_ONCE, "network.activation": "gelu-tanh"}
EDP = {
    "policy.schedule": "linear-sde",
    "policy.time_features": "cosines-first",
    "policy.clip_action": False,
    "selection.candidates": 50,
    "trainer.order": "together",
    "trainer.common_noise": True,
    "trainer.clip_over": "head",
    "trainer.clip_rule": "optax",
    "trainer.ema_start": 1001,
    "trainer.ema_before": "keep",
}
IDQL = {
    "network.hidden": 256,
    "network.depth": 3,
    "network.block": "residual-ln",
    "network.dropout": 0.1,
    "network.norm_eps": 1e-6,
    "network.init": "fan-average",
    "critic.network.block": "plain",
    "critic.network.dropout": 0.0,
    "critic.network.activation": "relu",
    "critic.network.depth": 2,
    "critic.network.norm_eps": 1e-5,
    "critic.network.init": "torch",
    "critic.loss": "mean",
    "policy.T": 5,
    "policy.schedule": "vp",
    "policy.reduction": "sum",
    "policy.time_features": "fourier",
    "policy.time_dim": 64,
    "policy.time_width": 128,
    "policy.ddpm_variance": "beta",
    "policy.clip": False,
    "policy.clip_steps": True,
    "trainer.batch": 512,
    "trainer.order": "policy-first",
    "trainer.annealed": "policy",
    "trainer.weight_decay": 1e-4,
    "trainer.ema_decay": 0.999,
    "trainer.ema_every": 1,
    "trainer.ema_start": 0,
    "trainer.acting": "average",
}
SRPO = {
    **RELU,
    "regularizer.less_noise": False,
    "regularizer.behaviour.reduction": "sum",
    "regularizer.network.hidden": 256,
    "regularizer.network.depth": 3,
    "regularizer.network.activation": "mish",
    "regularizer.network.block": "residual-ln",
    "regularizer.network.dropout": 0.1,
    "critic.loss": "mean",
    "trainer.order": "targets-first",
    "trainer.annealed": "policy",
    "trainer.behaviour_decay": 0.01,
}
CONSISTENCY_AC = {
    "policy.levels": 150,
    "policy.sigma_max": 80.0,
    "policy.loss_scale": 100.0,
    "policy.teacher": "average",
    "policy.growth": 50_000,
    "policy.growth_again": True,
    "policy.input": "raw",
    "policy.spacing": "even",
    "policy.clip": False,
}
