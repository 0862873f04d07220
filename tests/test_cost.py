"""The cost model's program: what it writes, and what it counts."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from test_compiled import needs_compiler

from benchmarks import cost
from benchmarks.measure import peak_memory
from core import fusion


def test_peak_memory_sees_what_is_gone_again():
    size = 64 * 2**20

    def work():
        torch.ones(size // 4)

    # the kernel counts resident pages in lots
    assert 0.95 * size <= peak_memory(work, torch.device("cpu")) < 1.5 * size


@needs_compiler
@pytest.mark.slow
def test_parts_are_measured_one_by_one_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(cost, "SEEDS", (1, 2))
    quick = ["--rounds", "2", "--seconds", "0.01", "--out", str(tmp_path)]
    try:
        for part in ("S", "data"):
            assert cost.main(["--parts", part, *quick]) == 0
    finally:
        fusion.fuse(False)
    table = pd.read_csv(tmp_path / "cost.csv")
    assert set(table["part"]) == {"S", "data"}
    assert (table["milliseconds"] > 0).all()
    assert (tmp_path / "seed_rate.png").read_bytes()[1:4] == b"PNG"
    assert set(table.query("part == 'S'")["case"]) == {"hopper", "bandit"}
