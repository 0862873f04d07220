"""IDQL (philippe-eecs/IDQL, revision 7582571)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method, network
from parity.recipe import Slot, of_critic, of_network, of_time, places
from policies.diffusion import DiffusionConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.annealing import cosine
from trainers.trainer import Parts


class IDQL(Method):
    seeds = {"score_model": 100, "critic": 200, "value": 300}
    averages = {"target_score_model": "score_model", "target_critic": "critic"}

    def parts(self) -> Parts:
        c = self.config
        form = {"exp_adv": "exp", "soft_adv": "expectile", "bc": "exp"}[c["actor_objective"]]
        weighted = IMPROVEMENTS["weighted"](
            form=form, baseline="value", beta=1 / c["policy_temperature"], expectile=c["expectile"]
        )
        return Parts(
            policy=DiffusionConfig(
                T=c["T"], schedule=c["beta_schedule"], allow_residual_signal=True, reduction="sum",
                time_features="fourier", time_dim=c["time_dim"], time_width=self._width(),
                ddpm_variance="beta", clip=False, clip_steps=True, last_again=c["M"],
            ),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["none"]() if c["actor_objective"] == "bc" else weighted,
            backup=BACKUPS["expectile"](expectile=c["expectile"]),
            critic=CriticConfig(heads=c["num_qs"], loss="mean"),
            network=self._score_network(),
            networks={"critic": NetworkConfig(hidden=c["hidden"], depth=c["layers"], activation="relu")},
        )  # fmt: skip

    def _width(self) -> int:
        return dict(self.case["score_model_params"])["time.layer0.weight"][0]

    def _score_network(self) -> NetworkConfig:
        c, names = self.config, [name for name, _ in self.case["score_model_params"]]
        if c["architecture"] == "ln_resnet":
            return NetworkConfig(
                hidden=c["hidden"], depth=c["blocks"], block="residual-ln", dropout=c["dropout"], norm_eps=1e-6
            )
        layers = len([name for name in names if name.startswith("layer") and name.endswith("weight")])
        return network(c["hidden"], layers, "mish", input_norm="input.norm_scale" in names)

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], order="policy-first", annealed="policy",
            weight_decay=c["weight_decay"], ema_decay=1 - c["actor_tau"], ema_every=1, ema_start=0, acting="average",
        )  # fmt: skip

    def annealing(self):
        return cosine(self.config["decay_steps"])

    def networks(self):
        t, c = self.trainer, self.config
        of_inputs = places(c["act_dim"], c["obs_dim"], self._width(), order=(0, 2, 1))

        def of_policy(policy):
            frequencies = Slot(policy.time.frequencies, column=True)
            return [frequencies, *of_time(policy.time), *of_network(policy.net, columns=of_inputs)]

        return {
            "score_model": of_policy(t.policy),
            "target_score_model": of_policy(t.target_policy),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
            "value": of_network(t.backup.net),
        }

    def before(self, batch):
        t = self.trainer
        weights = t.parts.improvement(t.policy, t.critics(), batch, None).weight.mean()
        v, q = t.backup.value(batch.obs).mean(), t.critic(batch.obs, batch.act).mean()
        return {"weights_mean": weights, "v_mean": v, "q_mean": q}

    def record(self, record, batch):
        return {name: record[name] for name in ("actor_loss", "value_loss", "critic_loss")}

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.acting_policy.sample(obs, rng)
        return {"actions": act[0], "target_q": self.heads(t.target_critic, obs, act), "v": t.backup.value(obs)[0]}
