"""ReBRAC: as in seohongpark/fql (revision 719d044) and in ColinQiyangLi/qam (revision f93efd2)."""

from __future__ import annotations

from critics import BACKUPS, CriticConfig
from parity.method import Method, network
from parity.recipe import of_critic, of_network
from policies.deterministic import DeterministicConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts


class ReBRAC(Method):
    seeds = {"actor": 100, "critic": 200}
    averages = {"target_actor": "actor", "target_critic": "critic"}
    needs_next_act = True

    def parts(self) -> Parts:
        c = self.config
        penalised = c["code"] == "fql"
        noise = {"noise": c["actor_noise"], "noise_clip": c["actor_noise_clip"]}
        if penalised:
            head, backup = {"head": "min"}, BACKUPS["penalised"](coef=c["alpha_critic"], **noise)
        else:
            head = {"head": "lower-bound", "rho": c["rho"]}
            backup = BACKUPS["lower-bound"](rho=c["rho"], **noise)
        layers = c["hidden"], c["layers"], "gelu-tanh"
        return Parts(
            policy=DeterministicConfig(),
            regularizer=REGULARIZERS["squared-error"](coef=c["alpha_actor"], reduction="sum"),
            improvement=IMPROVEMENTS["q-max"](eta=1.0, normalizer="own-head", **head),
            backup=backup,
            critic=CriticConfig(heads=2 if penalised else c["num_qs"], loss="mean"),
            network=network(*layers, "after" if self.norms_of("actor") else "none"),
            networks={"critic": network(*layers, "after" if self.norms_of("critic") else "none")},
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        every, penalised = c["actor_freq"], c["code"] == "fql"
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], ema_decay=1 - c["tau"], ema_start=0, delay="last",
            policy_every=every if penalised else 1, tau_every=every, ema_every=every, coasting=penalised,
            order="together-lagging",
        )  # fmt: skip

    def networks(self):
        t = self.trainer
        return {
            "actor": of_network(t.policy.net),
            "target_actor": of_network(t.target_policy.net),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def before(self, batch):
        return {"q_mean": self.trainer.critic(batch.obs, batch.act).mean()}

    def record(self, record, batch):
        ours = {"critic_loss": record["critic_loss"]}
        if "actor_loss" in record:
            mse = record["regularizer"]
            losses = {"actor_loss": record["actor_loss"], "q_loss": record["bonus"]}
            ours |= {**losses, "mse": mse, "bc_loss": self.config["alpha_actor"] * mse}
        return ours

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.policy.mode(obs)
        return {
            "actions": act[0],
            "q": self.heads(t.critic, obs, act),
            "target_q": self.heads(t.target_critic, obs, act),
        }
