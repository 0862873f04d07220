"""Behaviours whose law is known, by name, each a configuration that builds one."""

from tasks.behaviours.base import Behaviour
from tasks.behaviours.conditional import ConditionalConfig
from tasks.behaviours.config import BehaviourConfig
from tasks.behaviours.curves import ManifoldConfig, MoonsConfig, RingsConfig, SpiralsConfig, SwissRollConfig
from tasks.behaviours.plane import CheckerboardConfig, CornersConfig, GridConfig, PinwheelConfig, RingConfig
from tasks.behaviours.signs import ParityConfig, ProductConfig

BEHAVIOURS: dict[str, type[BehaviourConfig]] = {
    "corners": CornersConfig,
    "ring": RingConfig,
    "grid": GridConfig,
    "moons": MoonsConfig,
    "rings": RingsConfig,
    "checkerboard": CheckerboardConfig,
    "pinwheel": PinwheelConfig,
    "spirals": SpiralsConfig,
    "swissroll": SwissRollConfig,
    "conditional": ConditionalConfig,
    "product": ProductConfig,
    "parity": ParityConfig,
    "manifold": ManifoldConfig,
}

__all__ = ["BEHAVIOURS", "Behaviour", "BehaviourConfig"]
