"""EDP (sail-sg/edp, revision b019648; its float32 constants in float64), with TD3's target and with IQL's."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from critics.targets import td_target
from parity.method import Method
from parity.recipe import PreparedRng, of_network, of_time, places
from policies.diffusion import DiffusionConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.optim import grad_norms, head_norms
from trainers.trainer import Parts

#: what the release calls the schedules
SCHEDULES = {"linear": "linear-sde"}
#: first step that moves the target policy
FROM = 1001


class EDP(Method):
    def __init__(self, case):
        self.iql = case["config"]["loss_type"] == "IQL"
        self.seeds = {"policy": 100, "qf1": 200, "qf2": 300, **({"vf": 400} if self.iql else {})}
        self.averages = {"target_policy": "policy", "target_qf1": "qf1", "target_qf2": "qf2"}
        self.first_step = case["config"]["first_step"]
        super().__init__(case)

    def parts(self) -> Parts:
        c = self.config
        networks = {"critic": self._network("qf1")}
        if self.iql:
            improvement = IMPROVEMENTS["weighted-one-step"](
                eta=c["guide_coef"], baseline="value", beta=1 / c["awr_temperature"]
            )
            backup = BACKUPS["expectile"](expectile=c["expectile"])
            if self.norms_of("vf") != self.norms_of("qf1"):
                networks["backup"] = self._network("vf")
        else:
            improvement = IMPROVEMENTS["one-step"](eta=c["guide_coef"] * c["alpha"])
            many = c["max_q_backup"]
            backup = BACKUPS["max-q"](samples=c["max_q_backup_samples"]) if many else BACKUPS["clipped-double-q"]()
        return Parts(
            policy=self._policy(),
            regularizer=REGULARIZERS["bc"](coef=c["diff_coef"] if self.iql else 1.0),
            improvement=improvement,
            backup=backup,
            critic=CriticConfig(),
            network=self._network("policy"),
            networks=networks,
        )

    def _policy(self) -> DiffusionConfig:
        c = self.config
        sampler = {"ddpm": {}, "dpm": {"sampler": "dpm-3s", "sample_steps": c["dpm_steps"], "t_end": c["dpm_t_end"]}}
        return DiffusionConfig(
            T=c["num_timesteps"], schedule=SCHEDULES.get(c["schedule_name"], c["schedule_name"]),
            allow_residual_signal=True, time_features="cosines-first", time_dim=c["time_embed_size"], clip_action=False,
            **sampler[c["sample_method"]],
        )  # fmt: skip

    def _network(self, name: str) -> NetworkConfig:
        c, layers = self.config, [n for n, _ in self.case[f"{name}_params"] if n.startswith("layer")]
        depth = len([n for n in layers if n.endswith(".weight")])
        return NetworkConfig(
            hidden=c["hidden"], depth=depth, norm="before" if self.norms_of(name) else "none", norm_eps=1e-6
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(
            lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], grad_norm=c["max_grad_norm"] or None, clip_over="head",
            clip_rule="optax", order="critic-first" if self.iql else "together", common_noise=True,
            ema_decay=1 - c["tau"], ema_start=FROM, ema_every=c["policy_tgt_freq"], ema_before="keep",
            acting="average" if self.iql else "policy",
        )  # fmt: skip

    def networks(self):
        t, c = self.trainer, self.config
        # ours takes the noised action, the embedding, the observation
        of_inputs = places(c["obs_dim"], c["act_dim"], c["time_embed_size"], order=(1, 2, 0))

        def of_policy(policy):
            return of_time(policy.time) + of_network(policy.net, columns=of_inputs)

        critics = {"qf": t.critic, "target_qf": t.target_critic}
        heads = {f"{name}{k + 1}": of_network(critic.net, k) for name, critic in critics.items() for k in (0, 1)}
        value = {"vf": of_network(t.backup.net)} if self.iql else {}
        return {"policy": of_policy(t.policy), "target_policy": of_policy(t.target_policy), **heads, **value}

    def make_trainer(self, parts, settings, annealing):
        trainer = super().make_trainer(parts, settings, annealing)
        self.gradients = {}
        for name, optimizer in trainer.optimizers.items():
            self._watch(name, optimizer)
        return trainer

    def _watch(self, name, optimizer):
        """Keep the gradients that the trainer takes, for norms that its record does not have."""
        take = optimizer.gradients

        def kept(loss):
            self.gradients[name] = take(loss)
            return self.gradients[name]

        optimizer.gradients = kept

    def before(self, batch):
        t = self.trainer
        # the critic's gradient is at the parameters before the step
        self.q = t.critic(batch.obs, batch.act)[0]
        if self.iql:
            return {"vf_pred": t.backup.value(batch.obs).mean()}
        rng = PreparedRng(2000 + t.step - self.first_step)
        self.target = td_target(batch.reward, batch.discount, t.backup(t.target_critic, t.target_policy, batch, rng))
        clean = t.policy.predict_clean(batch.obs, batch.act, rng)
        head = 0 if rng.uniform().item() > 0.5 else 1
        return {"lmbda": self.config["alpha"] / t.critic(batch.obs, clean)[0, head].abs().mean()}

    def record(self, record, batch):
        t, c = self.trainer, self.config
        ours = {
            "tgt_q": record["target_q"],
            "policy_loss": record["actor_loss"],
            "diff_loss": record["regularizer"],
            "guide_loss": record["bonus"] / c["guide_coef"],
            "policy_grad_norm": record["actor_grad_norm"],
        }
        if self.iql:
            next_v = t.backup.value(batch.next_obs).detach()
            self.target = td_target(batch.reward, batch.discount, next_v)
            norm = grad_norms(self.gradients["backup"]).item()
            ours |= {"vf_loss": record["value_loss"], "next_v": next_v.mean(), "vf_grad": norm}
        losses = (self.q - self.target).square().mean(-1)
        norms = head_norms(self.gradients["critic"])[0]
        for k in (0, 1):
            ours |= {f"qf{k + 1}_loss": losses[k], f"qf{k + 1}_grad_norm": norms[k]}
        return ours

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.policy.sample(obs, rng)
        return {"actions": act[0], "q": self.heads(t.critic, obs, act)}
