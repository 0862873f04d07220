"""Consistency-AC (quantumiracle/Consistency_Model_For_Reinforcement_Learning, revision cdeae87)."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method
from parity.recipe import PreparedRng, of_critic, of_network, of_time
from policies.consistency import ConsistencyConfig, levels_at
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.trainer import Parts

#: levels at the end, actions of the maximum, and what its loss is multiplied by
LEVELS, ACTIONS, SCALE = 150, 10, 100.0


class ReorderedRng:
    """The step's draws, made in the released order, given in ours: there Q draws before the loss of the class."""

    def __init__(self, seed: int, config, levels: int):
        rng, size, act, steps = PreparedRng(seed), config["batch"], config["act_dim"], config["n_timesteps"]
        rows = size * (ACTIONS if config["max_q_backup"] else 1)
        target, actor, coin = rng.normal(steps, rows, act), rng.normal(steps, size, act), rng.uniform()
        noise, level = rng.normal(size, act), rng.integers(levels - 1, size, 1)[..., 0]
        # the middle of what a uniform draw makes this level of
        uniform = (level + 0.5) / (levels - 1)
        self.normals, self.uniforms = [target, noise, actor], [uniform, coin]

    def normal(self, *shape):
        value = self.normals.pop(0)
        assert value.shape[1:] == shape
        return value

    def uniform(self, *shape):
        value = self.uniforms.pop(0)
        assert value.shape[1:] == shape
        return value


class ConsistencyAC(Method):
    seeds = {"actor": 100, "critic": 200}
    averages = {"ema_actor": "actor", "target_critic": "critic"}

    def parts(self) -> Parts:
        c, shapes = self.config, dict(self.case["actor_params"])
        scaled = c["scale_consistency_loss"]
        depth = len([name for name in shapes if name.startswith("mid_layer") and name.endswith("weight")])
        return Parts(
            policy=ConsistencyConfig(
                steps=c["n_timesteps"], levels=LEVELS, sigma_max=80.0, teacher="average", growth=c["iterations"],
                growth_again=True, input="raw", time_dim=shapes["time_mlp.1.weight"][1], spacing="even", clip=False,
                weighting="inverse-gap" if scaled else "none", loss_scale=SCALE if scaled else 1.0,
            ),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["q-max"](eta=c["eta"]),
            backup=BACKUPS["max-q"](samples=ACTIONS) if c["max_q_backup"] else BACKUPS["clipped-double-q"](),
            critic=CriticConfig(normalize_target=c["q_norm"]),
            network=NetworkConfig(hidden=c["hidden"], depth=depth),
        )  # fmt: skip

    def settings(self) -> TrainerConfig:
        c = self.config
        same = ("lr", "critic_lr", "grad_norm", "ema_start", "ema_every", "ema_decay", "tau")
        return TrainerConfig(**{name: c[name] for name in same}, ema_before="keep")

    def networks(self):
        t = self.trainer
        return {
            "actor": of_time(t.policy.time) + of_network(t.policy.net),
            "ema_actor": of_time(t.target_policy.time) + of_network(t.target_policy.net),
            "critic": of_critic(t.critic),
            "target_critic": of_critic(t.target_critic),
        }

    def rng(self, step):
        iterations = self.config["iterations"]
        return ReorderedRng(2000 + step, self.config, levels_at(step % iterations, iterations, LEVELS))

    def record(self, record, batch):
        same = ("actor_loss", "critic_loss", "actor_grad_norm", "critic_grad_norm")
        return {
            **{name: record[name] for name in same},
            "N": self.trainer.policy.count,
            "bc_loss": record["regularizer"],
            "q_loss": record["bonus"] / self.config["eta"],
        }

    def probe(self, rng):
        t = self.trainer
        obs = rng.normal(4, self.config["obs_dim"])
        act = t.policy.sample(obs, rng)
        return {
            "actions": act[0],
            "target_q": self.heads(t.target_critic, obs, act),
            "ema_actions": t.target_policy.sample(obs, PreparedRng(3001))[0],
        }
