"""Shares of the variation of scores, a bar for each factor and each group of factors."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns

from ablations.figures.drawing import GREY, grid, save


def draw_shares(shares: pd.DataFrame, title: str, path: Path) -> None:
    """`shares`: term, share, low, high, as `decomposition` orders them; the seeds are the last, in grey."""
    figure, (axis,) = grid(1, height=0.35 * len(shares) + 1.2)
    color = sns.color_palette("deep")[0]
    for height, row in enumerate(shares.itertuples(index=False)):
        last = height == len(shares) - 1
        axis.barh(height, row.share, color=GREY if last else color, height=0.7)
        if row.low == row.low:
            axis.hlines(height, max(row.low, 0), min(row.high, 1), color="black", linewidth=1.5)
    axis.set(
        title=title,
        xlabel="share of the variation of the score\n(line: 95% interval over seeds)",
        xlim=(0, 1),
        yticks=range(len(shares)),
        yticklabels=list(shares["term"]),
    )
    axis.set_ylim(len(shares) - 0.5, -0.5)
    sns.despine(ax=axis)
    save(figure, path)
