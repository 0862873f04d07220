"""The only trainer, and the parts plugged into it: regularizers, improvements, selections."""

from trainers.improvements import IMPROVEMENTS, Improvement
from trainers.regularizers import REGULARIZERS, Regularizer, RegularizerConfig
from trainers.selection import SELECTIONS, Selection
from trainers.trainer import Trainer, TrainerConfig

__all__ = [
    "IMPROVEMENTS",
    "REGULARIZERS",
    "SELECTIONS",
    "Improvement",
    "Regularizer",
    "RegularizerConfig",
    "Selection",
    "Trainer",
    "TrainerConfig",
]
