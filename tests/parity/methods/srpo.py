"""SRPO (thu-ml/SRPO, revision b3b916a): a behaviour diffusion, IQL's critic, a policy by both, each in a trainer."""

from __future__ import annotations

from core.networks import NetworkConfig
from critics import BACKUPS, CriticConfig
from parity.method import Method
from parity.recipe import PreparedRng, Slot, error, golden_batch, of_critic, of_linear, of_network, places, put
from policies.deterministic import DeterministicConfig
from policies.sde import SDEConfig
from trainers import IMPROVEMENTS, REGULARIZERS, TrainerConfig
from trainers.annealing import cosine
from trainers.trainer import Parts

#: steps over which the rate of the critic's own policy falls, and decay of the behaviour's weights
ANNEALED_OVER, DECAY = 1_500_000, 0.01


class SRPO(Method):
    """The trainer of the class is that of the critic (with a policy of IQL's)."""

    seeds = {"behavior": 100, "critic": 200, "value": 300, "iql_policy": 400, "policy": 500}
    averages = {"target_critic": "critic"}

    def __init__(self, case):
        self.shapes = {name: dict(case[f"{name}_params"]) for name in self.seeds}
        super().__init__(case)

    def _layers(self, name: str, block: str = "") -> int:
        """Hidden layers of a network of linear layers."""
        return len([n for n in self.shapes[name] if n.startswith(block) and n.endswith("weight")]) - 1

    def _relu(self, depth: int) -> NetworkConfig:
        return NetworkConfig(hidden=self.config["hidden"], depth=depth, activation="relu")

    def _value_networks(self) -> dict[str, NetworkConfig]:
        return {"critic": self._relu(self._layers("critic", "q1")), "backup": self._relu(self._layers("value"))}

    def parts(self) -> Parts:
        c = self.config
        return Parts(
            policy=DeterministicConfig(reduction="sum"),
            regularizer=REGULARIZERS["bc"](),
            improvement=IMPROVEMENTS["weighted"](baseline="value", beta=1 / c["iql_temperature"]),
            backup=BACKUPS["expectile"](expectile=c["expectile"]),
            critic=CriticConfig(loss="mean"),
            network=self._relu(self._layers("iql_policy")),
            networks=self._value_networks(),
        )

    def settings(self) -> TrainerConfig:
        c = self.config
        return TrainerConfig(lr=c["lr"], critic_lr=c["lr"], tau=c["tau"], order="targets-first", annealed="policy")

    def annealing(self):
        return cosine(ANNEALED_OVER)

    def _behaviour(self) -> tuple[SDEConfig, NetworkConfig]:
        c = self.config
        widths = {"time_dim": 2 * self.shapes["behavior"]["gaussian_fourier.W"][0]}
        widths["time_width"] = self.shapes["behavior"]["cond_model.0.weight"][0]
        config = SDEConfig(reduction="sum", time_features="fourier-fixed", **widths)
        network = NetworkConfig(hidden=c["hidden"], depth=c["blocks"], block="residual-ln", dropout=0.1, norm_eps=1e-5)
        return config, network

    def networks(self):
        c, t = self.config, self.trainer
        self.cloning, self.extraction = self._cloning(), self._extraction()
        action_first = places(c["act_dim"], c["obs_dim"], order=(1, 0))
        return {
            "behavior": self._of_behaviour(self.cloning.policy),
            "critic": of_critic(t.critic, action_first),
            "target_critic": of_critic(t.target_critic, action_first),
            "value": of_network(t.backup.net),
            "iql_policy": of_network(t.policy.net),
            "policy": of_network(self.extraction.policy.net),
        }

    def _of_behaviour(self, policy) -> list[Slot]:
        c, width = self.config, self.shapes["behavior"]["cond_model.0.weight"][0]
        of_inputs = places(c["act_dim"], c["obs_dim"], width, order=(0, 2, 1))
        time = [slot for layer in (policy.time.widen, policy.time.narrow) for slot in of_linear(layer)]
        return [Slot(policy.time.frequencies), *of_network(policy.net, columns=of_inputs), *time]

    def _cloning(self):
        """Behaviour cloning of the diffusion."""
        config, network = self._behaviour()
        parts = Parts(
            policy=config, regularizer=REGULARIZERS["bc"](), improvement=IMPROVEMENTS["none"](),
            backup=BACKUPS["reward-only"](), critic=CriticConfig(), network=network,
            networks={"critic": NetworkConfig(hidden=1, depth=1)},
        )  # fmt: skip
        return self.make_trainer(parts, TrainerConfig(lr=self.config["lr"], weight_decay=DECAY), None)

    def _extraction(self):
        """The policy, from a frozen critic and a frozen behaviour."""
        c = self.config
        config, network = self._behaviour()
        parts = Parts(
            policy=DeterministicConfig(),
            regularizer=REGULARIZERS["score"](
                behaviour=config, less_noise="noise" in c["WT"],
                weight="sigma-squared" if c["WT"].startswith("VDS") else "signal-to-noise",
            ),
            improvement=IMPROVEMENTS["action-gradient"](eta=c["beta"], normalize=bool(c["regq"])),
            backup=BACKUPS["expectile"](), critic=CriticConfig(), network=self._relu(self._layers("policy")),
            networks={**self._value_networks(), "regularizer": network},
        )  # fmt: skip
        trainer = self.make_trainer(parts, TrainerConfig(lr=c["lr"]), cosine(c["policy_max_steps"]))
        trainer.critic_frozen = trainer.regularizer.frozen = True
        return trainer

    def before(self, batch):
        t = self.trainer
        taken = t.target_critic(batch.obs, batch.act).amin(1).mean()
        return {"next_v_mean": t.backup.value(batch.next_obs).mean(), "target_q_mean": taken}

    def record(self, record, batch):
        cloned = self.cloning.update(batch, PreparedRng(2000 + self.cloning.step))
        return {
            "behavior_loss": cloned["actor_loss"].item(),
            "value_loss": record["value_loss"],
            "critic_loss": record["critic_loss"],
            "iql_policy_loss": record["actor_loss"],
        }

    def ends(self):
        return {**self._policy_steps(), **super().ends()}

    def _policy_steps(self):
        trainer = self.extraction
        put(self._of_behaviour(trainer.regularizer.behaviour), [slot.read() for slot in self.slots["behavior"]])
        trainer.target_critic.load_state_dict(self.trainer.target_critic.state_dict())
        errors = {}
        for k, golden in enumerate(self.case["policy_steps"]):
            batch = golden_batch(self.config, k, first=1100)
            act = trainer.policy.mode(batch.obs).detach()
            q_mean = trainer.target_critic(batch.obs, act).detach().mean()
            record = trainer.update(batch, PreparedRng(4000 + k))
            ours = {"policy_loss": record["actor_loss"].item(), "q_mean": q_mean}
            errors |= {f"policy step {k}, {name}": error(ours[name], value) for name, value in golden.items()}
        return errors

    def probe(self, rng):
        t, c = self.trainer, self.config
        obs, x, times = rng.normal(4, c["obs_dim"]), rng.normal(4, c["act_dim"]), rng.uniform(4)
        act = self.extraction.policy.mode(obs)
        return {
            "actions": act[0],
            "target_q": self.heads(t.target_critic, obs, act),
            "v": t.backup.value(obs)[0],
            "noise": self.cloning.policy.predict(x, times, obs)[0],
        }
