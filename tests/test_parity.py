"""Parity with the released Diffusion-QL, through the real policy, critic and trainer, in float64.

The golden numbers were computed with the authors' released implementation (Diffusion-Policies-for-Offline-RL,
revision d871f5c), every random draw replaced by a prepared one. `R(seed)` is numpy's frozen legacy stream.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.networks import NetworkConfig
from core.types import TaskSpec, Transitions
from critics import BACKUPS, CriticConfig
from policies.diffusion import DiffusionConfig
from policies.samplers import ddpm, ddpm_coefficients, step
from policies.schedules import make_schedule
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts, Trainer

GOLDEN = Path(__file__).parent / "golden"
CHAINS = json.loads((GOLDEN / "diffusion.json").read_text())
TRAINING = json.loads((GOLDEN / "diffusion_ql.json").read_text())
RELATIVE = 1e-8


def R(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


class PreparedRng:
    """The released code's stream for one seed, in the order it draws; a stand-in for `SeedRng`."""

    def __init__(self, seed: int):
        self.r = R(seed)

    def normal(self, *shape):
        return torch.from_numpy(self.r.randn(*shape))[None]

    def uniform(self, *shape):
        return torch.tensor(self.r.uniform(size=shape))[None]

    def integers(self, high, *shape):
        return torch.from_numpy(self.r.randint(0, high, shape))[None]


def close(ours, golden):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(golden), rtol=RELATIVE, atol=1e-15)


@pytest.mark.parametrize("key", CHAINS["schedules"])
def test_schedules(key):
    name, T = key.split("/")
    schedule = make_schedule(name, int(T))
    for field, golden in CHAINS["schedules"][key].items():
        close(getattr(schedule, field), golden)


@pytest.mark.parametrize("golden", CHAINS["chain"], ids=lambda g: f"{g['schedule']}-{g['T']}")
def test_ddpm_chain(golden):
    schedule = make_schedule(golden["schedule"], golden["T"])
    r = R(7)
    obs = torch.from_numpy(r.randn(6, 4))
    noise = torch.from_numpy(r.randn(schedule.T + 1, 6, 3))[None]

    def denoiser(x, t):
        return 0.3 * x + 0.1 * math.sin(t) + 0.05 * obs.mean(1, keepdim=True)

    x = noise[:, 0]
    first = step(denoiser(x, schedule.T - 1), x, noise[:, 1], ddpm_coefficients(schedule)[0].tolist())
    close(first[0], golden["first"])
    close(ddpm(denoiser, schedule, noise)[0], golden["last"])


def prepared_weights(shapes, first_seed):
    """The golden initial parameters (out, in), biases bounded as the weight before them."""
    values, bound = [], 0.0
    for k, (_, shape) in enumerate(shapes):
        bound = 1 / math.sqrt(shape[1]) if len(shape) == 2 else bound
        values.append(torch.from_numpy(R(first_seed + k).uniform(-bound, bound, shape)))
    return values


def actor_layers(policy):
    return [policy.time.widen, policy.time.narrow, *policy.net.layers]


def released_actor(policy):
    """The policy's parameters in the released order and orientation (out, in)."""
    return [part for layer in actor_layers(policy) for part in (layer.weight[0].T, layer.bias[0])]


def released_critic(critic):
    """The critic's parameters in the released order: all layers of the first head, then of the second."""
    layers = [(layer, head) for head in range(2) for layer in critic.net.layers]
    return [part for layer, head in layers for part in (layer.weight[0, head].T, layer.bias[0, head])]


def golden_trainer():
    c = TRAINING["config"]
    parts = Parts(
        policy=DiffusionConfig(T=c["T"], schedule=c["schedule"]),
        regularizer=REGULARIZERS["bc"](),
        improvement=IMPROVEMENTS["q-max"](eta=c["eta"]),
        backup=BACKUPS["clipped-double-q"](),
        critic=CriticConfig(),
        network=NetworkConfig(),
    )
    same = ("lr", "critic_lr", "grad_norm", "ema_start", "ema_every", "ema_decay", "tau", "batch")
    config = TrainerConfig(**{name: c[name] for name in same}, ema_before="keep")
    trainer = Trainer(parts, config, TaskSpec("golden", c["obs_dim"], c["act_dim"]), [0], dtype=torch.float64)
    initial = prepared_weights(TRAINING["actor_params"], 100) + prepared_weights(TRAINING["critic_params"], 200)
    ours = released_actor(trainer.policy) + released_critic(trainer.critic)
    with torch.no_grad():
        for parameter, golden in zip(ours, initial, strict=True):
            parameter.copy_(golden)
    trainer.target_critic.load_state_dict(trainer.critic.state_dict())
    trainer.target_policy.load_state_dict(trainer.policy.state_dict())
    return trainer


def golden_batch(step):
    c = TRAINING["config"]
    r = R(1000 + step)
    obs, act = r.randn(c["batch"], c["obs_dim"]), np.tanh(r.randn(c["batch"], c["act_dim"]))
    next_obs, reward = r.randn(c["batch"], c["obs_dim"]), r.randn(c["batch"], 1)
    not_done = r.uniform(size=(c["batch"], 1)) > 0.1
    arrays = obs, act, reward[:, 0], next_obs, c["discount"] * not_done[:, 0]
    return Transitions(*(torch.from_numpy(array)[None] for array in arrays))


def test_eight_training_steps():
    trainer = golden_trainer()
    eta = TRAINING["config"]["eta"]
    for k, golden in enumerate(TRAINING["steps"]):
        record = trainer.update(golden_batch(k), PreparedRng(2000 + k))
        ours = {
            "bc_loss": record["regularizer"],
            "q_loss": record["bonus"] / eta,
            "actor_loss": record["actor_loss"],
            "critic_loss": record["critic_loss"],
            "target_q_mean": record["target_q"],
            "actor_grad_norm": record["actor_grad_norm"],
            "critic_grad_norm": record["critic_grad_norm"],
        }
        assert ours.keys() == golden.keys()
        for name, value in ours.items():
            np.testing.assert_allclose(value.item(), golden[name], rtol=RELATIVE, err_msg=f"step {k}, {name}")
    check_final(trainer)
    check_probe(trainer)


def check_final(trainer):
    networks = {
        "actor": released_actor(trainer.policy),
        "ema_actor": released_actor(trainer.target_policy),
        "critic": released_critic(trainer.critic),
        "target_critic": released_critic(trainer.target_critic),
    }
    assert networks.keys() == TRAINING["final"].keys()
    for name, parameters in networks.items():
        golden = TRAINING["final"][name].values()
        for parameter, (norm, first) in zip(parameters, golden, strict=True):
            close(parameter.norm().item(), norm)
            close(parameter.detach().flatten()[: len(first)], first)


def check_probe(trainer):
    c, probe = TRAINING["config"], TRAINING["probe"]
    rng = PreparedRng(3000)
    obs = rng.normal(4, c["obs_dim"])
    with torch.no_grad():
        act = trainer.policy.sample(obs, rng)
        close(act[0], probe["actions"])
        close(trainer.target_critic(obs, act).amin(1)[0], probe["q_min"])
