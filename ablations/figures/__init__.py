"""Figures, made from run directories alone. The only place that imports seaborn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

# before anything imports matplotlib: a notebook exports a backend of its own, which may not be there
os.environ["MPLBACKEND"] = "Agg"

import pandas as pd

from ablations.figures.crossings import draw_crossings
from ablations.figures.curves import draw_curves
from ablations.figures.denoising import draw_denoising
from ablations.figures.frontier import draw_frontier
from ablations.figures.methods import draw_methods
from ablations.figures.samples import draw_samples
from ablations.figures.sweep import draw_sweep

FIGURES: dict[str, Callable[[Path, pd.DataFrame, Path], None]] = {
    "samples": draw_samples,
    "curves": draw_curves,
    "crossings": draw_crossings,
    "denoising": draw_denoising,
    "methods": draw_methods,
    "sweep": draw_sweep,
    "frontier": draw_frontier,
}
__all__ = ["FIGURES"]
