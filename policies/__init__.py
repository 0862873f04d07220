"""Policy classes. To add one: a file with a `Policy` and its config, and an entry here."""

from policies.autoregressive import AutoregressiveConfig
from policies.base import (
    DenoisingPolicy,
    LatentPolicy,
    ModalPolicy,
    Policy,
    PolicyConfig,
    TractablePolicy,
    TransportPolicy,
    VelocityPolicy,
)
from policies.consistency import ConsistencyConfig
from policies.cvae import CVAEConfig
from policies.deterministic import DeterministicConfig
from policies.diffusion import DiffusionConfig
from policies.distilled import DistilledConfig
from policies.edm import EDMConfig
from policies.energy import EnergyConfig
from policies.flow import FlowConfig
from policies.gaussian import GaussianConfig
from policies.mean_flow import MeanFlowConfig
from policies.mixture import MixtureConfig
from policies.normalizing_flow import NormalizingFlowConfig
from policies.perturbed import PerturbedConfig
from policies.sde import SDEConfig
from policies.shortcut import ShortcutConfig
from policies.steered import SteeredConfig

POLICIES: dict[str, type[PolicyConfig]] = {
    "diffusion": DiffusionConfig,
    "gaussian": GaussianConfig,
    "cvae": CVAEConfig,
    "edm": EDMConfig,
    "sde": SDEConfig,
    "deterministic": DeterministicConfig,
    "mixture": MixtureConfig,
    "flow": FlowConfig,
    "shortcut": ShortcutConfig,
    "mean-flow": MeanFlowConfig,
    "normalizing-flow": NormalizingFlowConfig,
    "consistency": ConsistencyConfig,
    "autoregressive": AutoregressiveConfig,
    "energy": EnergyConfig,
    "perturbed": PerturbedConfig,
    "distilled": DistilledConfig,
    "steered": SteeredConfig,
}

__all__ = [
    "POLICIES",
    "DenoisingPolicy",
    "LatentPolicy",
    "ModalPolicy",
    "Policy",
    "PolicyConfig",
    "TractablePolicy",
    "TransportPolicy",
    "VelocityPolicy",
]
