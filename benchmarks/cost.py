"""python -m benchmarks.cost: how a step's time grows, one size at a time, and what else a run spends time on.

python -m benchmarks.cost                   all parts, some two minutes
python -m benchmarks.cost --parts S hidden  some of them; the others' rows stay as they are

Writes cost.csv, milliseconds for each value with quartiles over rounds, and draws seed_rate.png from the part S.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from benchmarks.cases import CASES, DATASET, Case, Steps, make_data, make_trainer, our_steps
from benchmarks.measure import interleaved, quartiles
from core import fusion, native
from core.rng import SeedRng
from trainers import SELECTIONS

DEVICE = torch.device("cpu")
SIZES = {"T": (5, 10, 20, 50), "batch": (64, 128, 256, 512), "hidden": (64, 128, 256, 512)}
SEEDS = (1, 2, 4, 8, 16)
#: observations that each seed acts on at once: the episodes of an evaluation
EPISODES = 10
#: case, value, precision -> steps
Contenders = dict[tuple[str, int, str], Steps]


def precisions() -> list[str]:
    return ["float32", "bf16"] if native.has_half() else ["float32"]


def under(precision: str, take: Steps) -> Steps:
    """The same steps, whatever was timed before them."""

    def run(count: int) -> object:
        fusion.fuse(True, precision)
        return take(count)

    return run


def size_part(name: str) -> Contenders:
    """Diffusion-QL at hopper's sizes, one seed, with one size changed."""
    made = {value: our_steps(replace(CASES["hopper"], **{name: value}), 1, DEVICE) for value in SIZES[name]}
    return {("hopper", value, p): under(p, take) for value, take in made.items() for p in precisions()}


def seeds_part() -> Contenders:
    return {
        (name, seeds, p): under(p, our_steps(CASES[name], seeds, DEVICE))
        for name in ("hopper", "bandit")
        for seeds in SEEDS
        for p in precisions()
    }


def acting(case: Case, candidates: int) -> Steps:
    """Choosing one of N samples by Q, for each of a seed's episodes."""
    trainer, rng = make_trainer(case, 1, DEVICE), SeedRng((0,), "evaluate")
    obs, select = torch.zeros(1, EPISODES, case.obs_dim), SELECTIONS["argmax-q"](candidates=candidates)

    @torch.no_grad()
    def take(count: int) -> None:
        for _ in range(count):
            select(trainer.policy, trainer.critics(), obs, rng)

    return take


def candidates_part() -> Contenders:
    made = {n: acting(CASES["hopper"], n) for n in (1, 10, 50, 200)}
    return {("hopper", n, p): under(p, take) for n, take in made.items() for p in precisions()}


def data_part() -> Contenders:
    """Drawing and gathering a batch, for so many seeds."""

    def loading(seeds: int) -> Steps:
        data, rng = make_data(CASES["hopper"], DEVICE), SeedRng(range(seeds), "train")

        def take(count: int) -> None:
            for _ in range(count):
                data[rng.integers(DATASET, CASES["hopper"].batch)]

        return take

    return {("hopper", seeds, "float32"): loading(seeds) for seeds in SEEDS}


PARTS: dict[str, Callable[[], Contenders]] = {
    "S": seeds_part,
    **{name: lambda name=name: size_part(name) for name in SIZES},  # type: ignore[misc]
    "N": candidates_part,
    "data": data_part,
}


def build_seconds() -> list[dict[str, object]]:
    """How long the compiler takes, in a cache of its own."""
    rows, before = [], os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        for precision in precisions():
            native.library.cache_clear()
            began = time.perf_counter()
            native.library(torch.float32, precision == "bf16")
            spent = 1e3 * (time.perf_counter() - began)
            rows.append(row("compile", "kernels", 0, precision, (spent, spent, spent)))
        os.environ.pop("XDG_CACHE_HOME")
        native.library.cache_clear()
    if before is not None:
        os.environ["XDG_CACHE_HOME"] = before
    return rows


def row(part: str, case: str, value: int, precision: str, spread: tuple[float, float, float]) -> dict[str, object]:
    names = ("milliseconds", "lower", "upper")
    return {"part": part, "case": case, "value": value, "precision": precision, **dict(zip(names, spread, strict=True))}


def measure(part: str, rounds: int, seconds: float) -> pd.DataFrame:
    """Milliseconds of a step at each value of a part, its contenders in turn."""
    if part == "compile":
        return pd.DataFrame(build_seconds())
    contenders = {" ".join(map(str, key)): take for key, take in PARTS[part]().items()}
    rows = []
    for key, rates in interleaved(contenders, rounds, seconds, DEVICE).items():
        case, value, precision = key.split()
        rows.append(row(part, case, int(value), precision, quartiles(1e3 / rates)))
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, path: Path) -> None:
    """Seed-steps per second against the number of seeds trained at once."""
    import seaborn as sns

    shown = table[table["part"] == "S"].assign(rate=lambda t: 1e3 * t["value"] / t["milliseconds"])
    grid = sns.relplot(
        shown,
        x="value",
        y="rate",
        hue="precision",
        col="case",
        kind="line",
        marker="o",
        height=3,
        facet_kws={"sharey": False},
    )
    grid.set_axis_labels("seeds trained at once", "seed-steps/s").set_titles("{col_name}").set(ylim=(0, None))
    grid.set(xscale="log", xticks=SEEDS, xticklabels=list(map(str, SEEDS)))
    grid.savefig(path, dpi=150)


def main(arguments: list[str]) -> int:
    names = [*PARTS, "compile"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="length of a turn")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's")
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / "cost.csv"
    for part in options.parts:
        measured = measure(part, options.rounds, options.seconds)
        print(measured.to_string(index=False, float_format="{:.3f}".format), flush=True)
        table = pd.read_csv(file) if file.exists() else pd.DataFrame(columns=["part"])
        table = pd.concat([table[table["part"] != part], measured.assign(threads=torch.get_num_threads())])
        table.to_csv(file, index=False)
        if part == "S":
            draw(table, options.out / "seed_rate.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
