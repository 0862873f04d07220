"""Policy classes. To add one: a file with a `Policy` and its config, and an entry here."""

from policies.base import DenoisingPolicy, Policy, PolicyConfig, TractablePolicy
from policies.cvae import CVAEConfig
from policies.diffusion import DiffusionConfig
from policies.edm import EDMConfig
from policies.gaussian import GaussianConfig

POLICIES: dict[str, type[PolicyConfig]] = {
    "diffusion": DiffusionConfig,
    "gaussian": GaussianConfig,
    "cvae": CVAEConfig,
    "edm": EDMConfig,
}

__all__ = ["POLICIES", "DenoisingPolicy", "Policy", "PolicyConfig", "TractablePolicy"]
