"""What a replay of one method is made of: the trainer built from a file's `config`, and what it is compared with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from core.networks import NetworkConfig
from core.types import TaskSpec
from parity.recipe import PreparedRng, Slot, error, final_error, golden_batch, initial, put
from trainers import TrainerConfig
from trainers.annealing import Annealing
from trainers.trainer import Parts, Trainer


class Method(ABC):
    """One case of a golden file. `seeds`: released network -> seed of its first initial parameter."""

    seeds: dict[str, int]
    #: released name of an average -> the network it is of
    averages: dict[str, str]
    needs_next_act = False
    first_step = 0

    def __init__(self, case: dict[str, Any]):
        self.case, self.config = case, case["config"]
        self.spec = TaskSpec("golden", self.config["obs_dim"], self.config["act_dim"])
        self.trainer = self.make_trainer(self.parts(), self.settings(), self.annealing())
        self.trainer.step = self.first_step
        self.slots: dict[str, list[Slot]] = self.networks()
        for name, seed in self.seeds.items():
            put(self.slots[name], initial(case[f"{name}_params"], seed))
        for average, of in self.averages.items():
            put(self.slots[average], [slot.read() for slot in self.slots[of]])

    def make_trainer(self, parts: Parts, settings: TrainerConfig, annealing: Annealing | None) -> Trainer:
        # a critic is trained also where only acting asks one
        return Trainer(parts, settings, self.spec, [0], needs_critic=True, annealing=annealing, dtype=torch.float64)

    @abstractmethod
    def parts(self) -> Parts: ...

    @abstractmethod
    def settings(self) -> TrainerConfig: ...

    def annealing(self) -> Annealing | None:
        return None

    @abstractmethod
    def networks(self) -> dict[str, list[Slot]]:
        """Every released network, averages too, as slots in the released order."""

    def rng(self, step: int):
        """The draws of a step, in the order in which the trainer asks them."""
        return PreparedRng(2000 + step)

    def before(self, batch) -> dict[str, Any]:
        """What is recorded of the parameters from before a step."""
        return {}

    @abstractmethod
    def record(self, record: dict[str, float], batch) -> dict[str, Any]:
        """The released names of what the trainer's record (and the parameters now) say."""

    @abstractmethod
    def probe(self, rng: PreparedRng) -> dict[str, Any]:
        """`[4, ...]` of each thing probed; rows `[K, 4]` of the heads."""

    def replay(self) -> dict[str, float]:
        """Where numbers are compared -> the largest relative error there."""
        errors: dict[str, float] = {}
        for k, golden in enumerate(self.case["steps"]):
            batch = golden_batch(self.config, k, next_act=self.needs_next_act)
            with torch.no_grad():
                before = self.before(batch)
            record = self.trainer.update(batch, self.rng(k))
            ours = {**before, **self.record({name: value.item() for name, value in record.items()}, batch)}
            for name, value in golden.items():
                errors[f"step {k}, {name}"] = error(ours[name], value)
        return {**errors, **self.ends()}

    def ends(self) -> dict[str, float]:
        errors = {f"final {name}": final_error(self.slots[name], golden) for name, golden in self.case["final"].items()}
        with torch.no_grad():
            found = self.probe(PreparedRng(3000))
        return errors | {f"probe {name}": error(found[name], golden) for name, golden in self.case["probe"].items()}

    def heads(self, critic, obs, act):
        """Rows of the heads, `[K, B]`."""
        return critic(obs, act)[0].numpy()

    def norms_of(self, name: str) -> bool:
        """Whether a released network has LayerNorms."""
        return any(parameter.endswith("norm_scale") for parameter, _ in self.case[f"{name}_params"])


def network(hidden: int, depth: int, activation: str, norm: str = "none", **options: Any) -> NetworkConfig:
    """Layers as the releases have them; LayerNorm with JAX's epsilon."""
    return NetworkConfig(hidden=hidden, depth=depth, activation=activation, norm=norm, norm_eps=1e-6, **options)
