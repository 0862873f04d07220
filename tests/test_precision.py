"""bf16: products near float32's, everything that is learned in float32, and the same learning."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from builders import make_dataset, make_trainer, relative_error, small_config
from test_compiled import needs_compiler

from ablations.command.cli import parse
from ablations.run import compiling
from core import fusion, native, network_pass
from core.options import OptionError
from core.rng import SeedRng
from run_ablation import main

needs_half = pytest.mark.skipif(not native.has_half(), reason="no avx512_bf16")
#: 8 bits of mantissa: a product's relative error, averaged over many terms, stays below this
ROUNDING = 2.0**-7
BF16 = ["--precision", "bf16"]


@needs_compiler
@needs_half
@pytest.mark.parametrize("rows", [1, 65, 200])
@pytest.mark.parametrize("sizes", [(7, 20, 20, 3), (5, 48, 48, 48, 17), (11, 256, 256, 1), (40, 33, 33, 2)])
def test_output_and_gradients_are_near_and_rounded(rows, sizes):
    g = torch.Generator().manual_seed(0)
    weights = [(torch.randn(2, a, b, generator=g) / a**0.5).requires_grad_() for a, b in itertools.pairwise(sizes)]
    biases = [torch.randn(2, b, generator=g).requires_grad_() for b in sizes[1:]]
    x = torch.randn(2, rows, sizes[0], generator=g).requires_grad_()
    inputs = [x, *weights, *biases]
    expected = network_pass.plain(x, weights, biases)
    probe = torch.randn(expected.shape, generator=g)
    fusion.fuse(True, "bf16")
    out = network_pass.run(x, weights, biases)
    pairs = zip(
        [out, *torch.autograd.grad(out, inputs, probe)],
        [expected, *torch.autograd.grad(expected, inputs, probe)],
        strict=True,
    )
    errors = [relative_error(a, b) for a, b in pairs]
    assert max(errors) < ROUNDING
    # it does round, and more than float32 would
    assert errors[0] > 1e-5
    assert out.dtype is torch.float32


def trained(precision, autocast=False):
    fusion.fuse(not autocast, precision)
    trainer = make_trainer(small_config("diffusion"), (0, 1), dtype=torch.float32)
    record = trainer.train(make_dataset(dtype=torch.float32), 10, SeedRng((0, 1), "train"))
    return trainer, record


@pytest.mark.parametrize(
    "kernels", [pytest.param(True, marks=[needs_compiler, needs_half]), pytest.param(False, id="autocast")]
)
def test_what_is_learned_stays_single_precision_and_near(kernels):
    plain, _ = trained("float32", autocast=True)
    trainer, record = trained("bf16", autocast=not kernels)
    assert fusion.precision() == "bf16"
    for optimizer in trainer.optimizers.values():
        for p, state in optimizer.state.items():
            assert {p.dtype, state["exp_avg"].dtype, state["exp_avg_sq"].dtype} == {torch.float32}
    assert all(value.dtype is torch.float32 for value in record.values())
    moved = 0.0
    for a, b in zip(trainer.policy.parameters(), plain.policy.parameters(), strict=True):
        # ten steps of Adam move a parameter by at most ten times the rate
        assert (a - b).abs().max() <= 2 * 10 * 3e-4 * 1.01
        moved += (a - b).abs().sum().item()
    assert moved > 0


def test_the_cpu_needs_its_kernels():
    with pytest.raises(OptionError, match="--precision bf16: needs --compile"):
        compiling.fuse_if_it_pays("off", parse(BF16).runs, torch.device("cpu"))


def test_a_processor_without_the_instruction_refuses(monkeypatch):
    monkeypatch.setattr(native, "has_half", lambda: False)
    with pytest.raises(OptionError, match="avx512_bf16"):
        compiling.fuse_if_it_pays("auto", parse(BF16).runs, torch.device("cpu"))


@needs_compiler
@needs_half
@pytest.mark.slow
def test_bf16_learns_the_bandit_within_the_interval_of_single_precision(tmp_path):
    curves = {}
    for precision in ("float32", "bf16"):
        out = tmp_path / precision
        options = "--bc-only --policy.T 10 --steps 3000 --eval-every 1000 --seeds 0 1 2 3 4 --compile on".split()
        assert main([*options, "--precision", precision, "--out", str(out)]) == 0
        frame = pd.read_csv(out / "metrics.csv").query("metric == 'energy_distance'")
        curves[precision] = frame.pivot(index="step", columns="seed", values="value").to_numpy()
    single = curves["float32"]
    # 95% prediction interval of the mean of five more seeds: t(0.975, 4) = 2.776
    half = 2.776 * single.std(1, ddof=1) * np.sqrt(2 / 5)
    assert (np.abs(curves["bf16"].mean(1) - single.mean(1)) <= half).all()
