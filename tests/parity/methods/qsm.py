"""QSM and DAC as released in ColinQiyangLi/qam (revision f93efd2)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method, network
from parity.recipe import Slot, of_critic, of_network, of_time, places
from policies.diffusion import DiffusionConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts


class QSM(Method):
    seeds = {"actor": 100, "critic": 200}
    averages = {"target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        before, after = c["clip_sampler_before"], c["clip_sampler_after"]
        improvement = {
            "qsm": lambda: IMPROVEMENTS["score-matching"](eta=c["inv_temp"]),
            "dac": lambda: IMPROVEMENTS["soft-guidance"](eta=1.0),
        }
        return Parts(
            policy=DiffusionConfig(
                T=c["diffusion_steps"], schedule=c["beta_schedule"], allow_residual_signal=True, first_step=1,
                time_features="fourier", time_dim=c["time_dim"], time_width=c["hidden"], time_depth=c["layers"],
                ddpm_mean="posterior" if before else "clean", ddpm_variance="beta",
                clip=before, clip_steps=after, clip_action=False,
            ),
            regularizer=REGULARIZERS["bc"](coef=c["alpha"]),
            improvement=improvement[c["actor_loss_type"]](),
            backup=BACKUPS["lower-bound"](rho=c["rho"]),
            critic=CriticConfig(heads=c["num_qs"], loss="mean"),
            network=self._network("mish", self.norms_of("actor")),
            networks={"critic": self._network("gelu-tanh", self.norms_of("critic"))},
        )  # fmt: skip

    def _network(self, activation: str, normed: bool) -> NetworkConfig:
        return network(self.config["hidden"], self.config["layers"], activation, "after" if normed else "none")

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], order="together-lagging", next_actions="current",
            common_noise=True, grad_norm=c["clip_grad_norm"] or None, clip_over="all", clip_rule="optax",
        )  # fmt: skip

    def networks(self):
        t, c = self.trainer, self.config
        # ours takes the embedding before the observation
        of_inputs = places(c["act_dim"], c["obs_dim"], c["hidden"], order=(0, 2, 1))
        frequencies = Slot(t.policy.time.frequencies, column=True)
        return {
            "actor": [frequencies, *of_time(t.policy.time), *of_network(t.policy.net, columns=of_inputs)],
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def before(self, batch):
        return {"q_mean": self.trainer.critic(batch.obs, batch.act).mean()}

    def record(self, record, batch):
        return {
            "critic_loss": record["critic_loss"],
            "guidance_loss": record["bonus"],
            "grad_norm": record["actor_grad_norm"],
        }

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.policy.sample(obs, rng)
        return {
            "actions": act[0],
            "q": self.heads(t.critic, obs, act),
            "target_q": self.heads(t.target_critic, obs, act),
        }
