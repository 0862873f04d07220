"""Which factor? `--analyse FILE.csv`: shares of variation and gains of swaps, of any table of scores.

Columns: `score`, `seed`, and a factor in each other column (`task` is one like any other). Writes `shares.csv`,
`effects.csv` and `figure.png`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.analysis import decomposition
from ablations.figures.drawing import attempt
from ablations.figures.shares import draw_shares
from ablations.record.directories import claim, new_directory
from ablations.report.showing import Shown
from core.options import OptionError, first_line

SCORE, SEED = "score", "seed"
#: more levels than this make a table of pairs that nobody reads
MOST_LEVELS = 8


def carry_out(files: Sequence[Path], out: Path) -> Shown:
    """Decompose the scores of the files together. Raises `OptionError` for what is no table of scores."""
    scores = pd.concat([_read(file) for file in files], ignore_index=True)
    factors = [name for name in scores.columns if name not in ("value", SEED)]
    constant = [factor for factor in factors if scores[factor].nunique() < 2]
    factors = [factor for factor in factors if factor not in constant]
    if not factors:
        raise OptionError("--analyse: no column has two levels or more; a factor is a column beside score and seed")
    if scores["value"].nunique() == 1:
        raise OptionError("--analyse: all scores are equal, there is no variation to explain")
    whole = _is_whole(scores, factors)
    shares = (decomposition.decompose if whole else decomposition.shapley)(scores, factors)
    effects = pd.concat(
        [
            decomposition.swaps(scores, factor, factors).assign(factor=factor)
            for factor in factors
            if scores[factor].nunique() <= MOST_LEVELS
        ]
        or [pd.DataFrame()]
    )
    claim(out)
    with new_directory(out) as partial:
        shares.to_csv(partial / "shares.csv", index=False)
        effects.to_csv(partial / "effects.csv", index=False)
    path = out / "figure.png"
    title = f"{len(scores):,} scores, {scores[SEED].nunique()} seeds"
    failure = attempt(functools.partial(draw_shares, shares, title, path), path)
    return Shown(_text(len(scores), whole, shares, effects), tuple(filter(None, [failure])))


def _read(file: Path) -> pd.DataFrame:
    try:
        scores = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise OptionError(f"--analyse {file}: cannot be read as CSV ({first_line(error)})") from None
    for column in (SCORE, SEED):
        if column not in scores:
            there = ", ".join(map(str, scores.columns))
            raise OptionError(f"--analyse {file}: no column {column!r}; there are {there}")
    numbers = pd.to_numeric(scores[SCORE], errors="coerce")
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        said = scores[SCORE].iloc[row]
        raise OptionError(f"--analyse {file}: the score of line {row + 2} is {said}, not a finite number")
    return scores.drop(columns=SCORE).fillna("none").assign(value=numbers.astype(float))


def _is_whole(scores: pd.DataFrame, factors: list[str]) -> bool:
    """Whether every combination has a score of every seed."""
    return len(scores) == math.prod(scores[key].nunique() for key in [*factors, SEED])


def _text(count: int, whole: bool, shares: pd.DataFrame, effects: pd.DataFrame) -> str:
    how = "every combination is there" if whole else "Shapley shares, as combinations or seeds are missing"
    lines = [f"Share of the variation of {count:,} scores ({how})", ""]
    width = max(map(len, shares["term"])) + 2
    for row in shares.itertuples(index=False):
        raw = f"  before the scatter of seeds is taken off: {row.raw:.4f}" if whole else ""
        lines.append(f"{row.term:<{width}} {_interval(row, '.4f')}{raw}")
    if shares["low"].isna().all():
        lines += ["", "no intervals: three seeds or more are needed"]
    if len(effects):
        said = [f"{row.factor}: {row.level} over {row.versus}" for row in effects.itertuples(index=False)]
        width = max(map(len, said)) + 2
        lines += ["", "Gain of a level over another, meaned over the other factors", ""]
        for name, row in zip(said, effects.itertuples(index=False), strict=True):
            lines.append(f"{name:<{width}} {_interval(row, '+.4g')}  worst {row.worst:+.4g}, best {row.best:+.4g}")
    return "\n".join([*lines, "", "(in parentheses: 95% intervals over seeds)"])


def _interval(row: Any, form: str) -> str:
    value = row.share if hasattr(row, "share") else row.mean
    return f"{value:{form}}" + ("" if np.isnan(row.low) else f" ({row.low:{form}} to {row.high:{form}})")
