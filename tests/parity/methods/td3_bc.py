"""TD3+BC (sfujim/TD3_BC, revision 8791ad7)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method
from parity.recipe import Unreadable, of_critic, of_network
from policies.deterministic import DeterministicConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts


class TD3BC(Method):
    seeds = {"actor": 100, "critic": 200}
    averages = {"target_actor": "actor", "target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        depth = (len(self.case["actor_params"]) - 2) // 2
        return Parts(
            policy=DeterministicConfig(),
            regularizer=REGULARIZERS["squared-error"](),
            improvement=IMPROVEMENTS["q-max"](eta=c["alpha"], head="first", normalizer="own-head"),
            backup=BACKUPS["clipped-double-q"](noise=c["policy_noise"], noise_clip=c["noise_clip"]),
            critic=CriticConfig(),
            network=NetworkConfig(hidden=c["hidden"], depth=depth, activation="relu"),
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        if c["max_action"] != 1.0:
            raise Unreadable(f"max_action must be 1, as actions here lie in [-1, 1]; got {c['max_action']}")
        every = c["policy_freq"]
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], ema_decay=1 - c["tau"], ema_start=0, delay="last",
            policy_every=every, tau_every=every, ema_every=every,
        )  # fmt: skip

    def networks(self):
        t = self.trainer
        return {
            "actor": of_network(t.policy.net),
            "target_actor": of_network(t.target_policy.net),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def record(self, record, batch):
        return {
            "critic_loss": record["critic_loss"],
            "target_q_mean": record["target_q"],
            "actor_loss": record.get("actor_loss"),
            "bc_loss": record.get("regularizer"),
            "q_loss": record.get("bonus"),
        }

    def probe(self, rng):
        obs = rng.normal(4, self.config["obs_dim"])
        act = self.trainer.policy.mode(obs)
        critic, target = self.trainer.critic, self.trainer.target_critic
        return {"actions": act[0], "q": self.heads(critic, obs, act), "target_q": self.heads(target, obs, act)}
