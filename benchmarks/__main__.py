"""python -m benchmarks: the trainer against a plain reference, timed in turn in one process.

python -m benchmarks                              the cases of the table in docs/performance.md
python -m benchmarks --cases hopper --seeds 1 8   some of them
python -m benchmarks --out speed.json             the numbers, for a figure
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import CASES, Case, our_steps, reference_steps
from benchmarks.measure import flops, interleaved, matrix_rate, peak_memory, quartiles
from core import devices, fusion
from core.options import OptionError

HEADER = (
    f"{'case':20} {'S':>3} {'steps/s':>9} {'seed-steps/s':>22} {'ratio per seed':>20} {'roofline':>8} {'memory':>8}"
)


def main(arguments: list[str]) -> int:
    options = _parse(arguments)
    device: torch.device = options.device
    if options.threads:
        torch.set_num_threads(options.threads)
    began = time.perf_counter()
    fusion.fuse(options.compile == "on", options.precision, replay=True)
    compiled_in = time.perf_counter() - began
    peak = matrix_rate(device)
    print(f"{torch.get_num_threads()} threads, {peak / 1e9:.0f} GFLOP/s in products, kernels in {compiled_in:.1f} s")
    print(HEADER, flush=True)
    rows: list[dict[str, Any]] = []
    for name in options.cases:
        if CASES[name].needs:
            print(f"{name:20} left out: needs {CASES[name].needs}")
            continue
        rows += time_case(name, CASES[name], options, device, peak)
    if options.out:
        meta = {
            "precision": options.precision,
            "compile": options.compile,
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "matrix_rate": peak,
            "compile_seconds": compiled_in,
        }
        options.out.write_text(json.dumps({**meta, "torch": torch.__version__, "rows": rows}, indent=1))
    return 0


def time_case(
    name: str, case: Case, options: argparse.Namespace, device: torch.device, peak: float
) -> list[dict[str, Any]]:
    """One row for the reference and one for each number of seeds, printed as they come."""
    fusion.fuse(False)
    work = flops(our_steps(case, 1, device))
    fusion.fuse(options.compile == "on", options.precision, replay=True)
    contenders, memory = {"reference": reference_steps(case, device)}, {"reference": 0}
    for seeds in options.seeds:

        def start(label: str = str(seeds), seeds: int = seeds) -> None:
            contenders[label] = our_steps(case, seeds, device)
            contenders[label](2)

        memory[str(seeds)] = peak_memory(start, device)
    rates = interleaved(contenders, options.rounds, options.seconds, device)
    rows = []
    for label, rate in rates.items():
        seeds = 1 if label == "reference" else int(label)
        row = {
            "case": name,
            "contender": label,
            "seeds": seeds,
            "steps_per_second": quartiles(rate),
            "seed_steps_per_second": quartiles(seeds * rate),
            "ratio": quartiles(seeds * rate / rates["reference"]),
            "roofline": float(seeds * quartiles(rate)[0] * work / peak),
            "memory": memory[label],
        }
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row: dict[str, Any]) -> str:
    def spread(values: tuple[float, float, float], digits: int) -> str:
        return "{:.{d}f} ({:.{d}f}-{:.{d}f})".format(*values, d=digits)

    label = "ref" if row["contender"] == "reference" else row["contender"]
    return (
        f"{row['case']:20} {label:>3} {row['steps_per_second'][0]:9.1f} {spread(row['seed_steps_per_second'], 0):>22} "
        f"{spread(row['ratio'], 1):>20} {row['roofline']:8.0%} {row['memory'] / 2**20:5.0f} MB"
    )


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 4, 8, 16], help="replicas trained at once")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each contender")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn")
    parser.add_argument("--threads", type=int, help="CPU threads, default: torch's")
    parser.add_argument("--precision", choices=fusion.PRECISIONS, default="float32", help="of ours, not the reference")
    parser.add_argument("--compile", choices=("on", "off"), default="on", help="off on a GPU: replayed all the same")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    options = parser.parse_args(arguments)
    try:
        options.device = devices.chosen(options.device)
    except OptionError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
