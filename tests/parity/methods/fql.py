"""FQL (seohongpark/fql, revision 719d044)."""

from __future__ import annotations

from critics import BACKUPS, CriticConfig
from parity.method import Method, network
from parity.recipe import PreparedRng, of_critic, of_network, places
from policies.distilled import DistilledConfig
from policies.flow import FlowConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts


class FQL(Method):
    seeds = {"actor_bc_flow": 100, "actor_onestep_flow": 200, "critic": 300}
    averages = {"target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        norms = {name: "after" if self.norms_of(name) else "none" for name in self.seeds}
        layers = c["hidden"], c["layers"], "gelu-tanh"
        return Parts(
            policy=DistilledConfig(base=FlowConfig(steps=c["flow_steps"]), alpha=c["alpha"]),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["q-max"](
                eta=1.0, head="mean", normalizer="own-head" if c["normalize_q_loss"] else "none"
            ),
            backup=BACKUPS["mean" if c["q_agg"] == "mean" else "clipped-double-q"](),
            critic=CriticConfig(loss="mean"),
            network=network(*layers, norms["actor_onestep_flow"]),
            networks={"critic": network(*layers, norms["critic"])},
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], order="together-lagging", next_actions="current",
            common_noise=True,
        )  # fmt: skip

    def networks(self):
        t, c = self.trainer, self.config
        of_flow = places(c["obs_dim"], c["act_dim"], 1, order=(1, 2, 0))
        return {
            "actor_bc_flow": of_network(t.policy.base.net, columns=of_flow),
            "actor_onestep_flow": of_network(t.policy.student),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def before(self, batch):
        return {
            "q_mean": self.trainer.critic(batch.obs, batch.act).mean(),
            **self._parts_of_loss(batch, PreparedRng(2000 + self.trainer.step)),
        }

    def _parts_of_loss(self, batch, rng):
        """The terms that the trainer's record has the sum of, by the policy's own functions and the same draws."""
        policy, (size, act) = self.trainer.policy, batch.act.shape[1:]
        rng.normal(size, act)
        flow = policy.base.bc_loss(batch.obs, batch.act, rng).mean()
        state = rng.r.get_state()
        distillation = policy.distillation(batch.obs, rng).mean()
        after = rng.r.get_state()
        rng.r.set_state(state)
        q = self.trainer.critic(batch.obs, policy.sample(batch.obs, rng)).mean()
        rng.r.set_state(after)
        mse = (policy.sample(batch.obs, rng) - batch.act).square().mean()
        return {"bc_flow_loss": flow, "distill_loss": distillation, "q_of_actor_mean": q, "mse": mse}

    def record(self, record, batch):
        return {
            "critic_loss": record["critic_loss"],
            "actor_loss": record["actor_loss"],
            "q_loss": record["bonus"],
        }

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        state = rng.r.get_state()
        act = t.policy.sample(obs, rng)
        rng.r.set_state(state)
        return {
            "actions": act[0],
            "flow_actions": t.policy.base.sample(obs, rng)[0],
            "q": self.heads(t.critic, obs, act),
            "target_q": self.heads(t.target_critic, obs, act),
        }
