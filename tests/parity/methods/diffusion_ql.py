"""Diffusion-QL (Diffusion-Policies-for-Offline-RL, revision d871f5c)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method
from parity.recipe import of_critic, of_network, of_time
from policies.diffusion import DiffusionConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts


class DiffusionQL(Method):
    seeds = {"actor": 100, "critic": 200}
    averages = {"ema_actor": "actor", "target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        shapes = dict(self.case["actor_params"])
        return Parts(
            policy=DiffusionConfig(
                T=c["T"], schedule=c["schedule"], allow_residual_signal=True, time_dim=shapes["time_mlp.1.weight"][1]
            ),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["q-max"](eta=c["eta"]),
            backup=BACKUPS["max-q" if c["max_q_backup"] else "clipped-double-q"](),
            critic=CriticConfig(),
            network=NetworkConfig(hidden=shapes["mid_layer.0.weight"][0], depth=len(self._hidden())),
        )

    def _hidden(self):
        return [name for name, _ in self.case["actor_params"] if name.startswith("mid_layer") and "weight" in name]

    def settings(self) -> TrainerConfig:
        c = self.config
        same = ("lr", "critic_lr", "grad_norm", "ema_start", "ema_every", "ema_decay", "tau", "batch")
        return TrainerConfig(**{name: c[name] for name in same}, ema_before="keep")

    def networks(self):
        t = self.trainer
        return {
            "actor": of_time(t.policy.time) + of_network(t.policy.net),
            "ema_actor": of_time(t.target_policy.time) + of_network(t.target_policy.net),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def record(self, record, batch):
        same = ("actor_loss", "critic_loss", "actor_grad_norm", "critic_grad_norm")
        # the loss of Q is recorded without its weight
        q_loss = record["bonus"] / self.config["eta"] if self.config["eta"] else 0.0
        return {
            **{name: record[name] for name in same},
            "bc_loss": record["regularizer"],
            "q_loss": q_loss,
            "target_q_mean": record["target_q"],
        }

    def probe(self, rng):
        obs = rng.normal(4, self.config["obs_dim"])
        act = self.trainer.policy.sample(obs, rng)
        return {"actions": act[0], "q_min": self.trainer.target_critic(obs, act).amin(1)[0]}
