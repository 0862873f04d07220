"""IQL (ikostrikov/implicit_q_learning, revision 09d7002)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method
from parity.recipe import Slot, of_critic, of_network
from policies.gaussian import GaussianConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.annealing import cosine
from trainers.trainer import Parts


class IQL(Method):
    seeds = {"actor": 100, "critic": 200, "value": 300}
    averages = {"target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        return Parts(
            policy=GaussianConfig(bound="mean", deviation="shared"),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["weighted"](baseline="value", beta=1 / c["temperature"]),
            backup=BACKUPS["expectile"](expectile=c["expectile"]),
            critic=CriticConfig(heads=2),
            network=NetworkConfig(hidden=c["hidden"], depth=c["layers"], activation="relu"),
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], annealed="policy")

    def annealing(self):
        return cosine(self.config["max_steps"])

    def networks(self):
        t = self.trainer
        return {
            "actor": [*of_network(t.policy.net), Slot(t.policy.log_std)],
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
            "value": of_network(t.backup.net),
        }

    def before(self, batch):
        # the target critic moves at the end of a step alone
        self.taken = self.trainer.target_critic(batch.obs, batch.act).amin(1)
        q = self.trainer.critic(batch.obs, batch.act)[0].mean(-1)
        return {"v_mean": self.trainer.backup.value(batch.obs).mean(), "q1_mean": q[0], "q2_mean": q[1]}

    def record(self, record, batch):
        advantage = (self.taken - self.trainer.backup.value(batch.obs)).mean().item()
        losses = {name: record[name] for name in ("value_loss", "critic_loss", "actor_loss")}
        return {**losses, "adv_mean": advantage}

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.policy.mode(obs)
        return {
            "actions": act[0],
            "q": self.heads(t.critic, obs, act),
            "target_q": self.heads(t.target_critic, obs, act),
            "v": t.backup.value(obs)[0],
        }
