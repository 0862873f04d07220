"""The compiled kernels against the same in torch: values, gradients, whole trainings, and what happens without them."""

from __future__ import annotations

import itertools
import platform

import pytest
import test_parity
import test_replicas
import torch
from builders import double_rng, generators, improvement_of, make_dataset, make_trainer, relative_error, small_config

from ablations.command.cli import parse
from ablations.run import compiling
from core import fusion, native, network_pass
from core.networks import NetworkConfig
from core.rng import SeedRng
from core.types import TaskSpec
from policies import POLICIES, chain
from policies.chain import _Chain, _TorchChain
from policies.samplers import run
from trainers.optim import ReplicaAdam

SEEDS = (0, 1, 2)


def can_compile() -> bool:
    try:
        native.library(torch.float64)
    except native.NoCompiler:
        return False
    return True


needs_compiler = pytest.mark.skipif(not can_compile(), reason="no C++ compiler")


@pytest.fixture
def compiled():
    fusion.fuse()
    yield
    fusion.fuse(False)


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """None at first, and a cache of its own; called with a line of shell, that is the compiler."""
    place = tmp_path / "compiler"
    monkeypatch.setenv("CXX", str(place))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native.library.cache_clear()

    def set_to(line: str) -> None:
        place.write_text(f"#!/bin/sh\n{line}\n")
        place.chmod(0o700)

    yield set_to
    native.library.cache_clear()


def trained(name: str, on: bool, dtype: torch.dtype, steps: int):
    fusion.fuse(on)
    try:
        trainer = make_trainer(small_config(name), SEEDS, improvement_of(name), dtype)
        record = trainer.train(make_dataset().to(dtype), steps, SeedRng(SEEDS, "train", dtype=dtype))
    finally:
        fusion.fuse(False)
    modules = [m for m in (trainer.policy, trainer.critic, trainer.target_policy) if m is not None]
    return [p.detach() for m in modules for p in m.parameters()] + list(record.values())


@needs_compiler
class TestTraining:
    @pytest.mark.parametrize("name", POLICIES)
    def test_compiled_is_eager_in_double_precision(self, name):
        for a, b in zip(*(trained(name, on, torch.float64, 50) for on in (False, True)), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["diffusion", "gaussian", "cvae"])
    def test_compiled_stays_eager_over_200_steps_of_single_precision(self, name):
        # No prediction of x0 comes within rounding of the box's edge in this draw. Where one does, its gradient passes
        # in one form and not in the other, and from there that replica differs: no tolerance holds for every draw.
        for a, b in zip(*(trained(name, on, torch.float32, 200) for on in (False, True)), strict=True):
            # networks `[S, ...]` to 1e-5; of the record `[S]`, ratios of means near 0 magnify what they are made of
            tolerance = 1e-5 if a.dim() > 1 else 1e-4
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="its instructions are told by x86's names")
    @pytest.mark.parametrize(("without", "width"), [("-mno-avx512f", 32), ("-mno-avx", 16)])
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-9)])
    def test_a_processor_of_narrower_vectors_gives_the_same(self, dtype, tolerance, without, width, compiler):
        compiler(f'exec g++ "$@" {without}')
        eager = trained("diffusion", False, dtype, 5)
        for a, b in zip(eager, trained("diffusion", True, dtype, 5), strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        assert native.padded(1, dtype) * dtype.itemsize == width

    def test_released_numbers(self, compiled):
        test_parity.test_eight_training_steps()

    @pytest.mark.parametrize("name", POLICIES)
    def test_replicas_are_independent(self, compiled, name):
        test_replicas.test_perturbing_one_replica_leaves_the_others_gradients_bit_identical(name)

    def test_together_is_alone(self, compiled):
        test_replicas.test_together_equals_alone_and_order_does_not_matter("diffusion")

    def test_a_checkpoint_written_eagerly_is_resumed_compiled(self):
        data, rng = make_dataset(), double_rng((0,))
        trainer = make_trainer(small_config("gaussian"), (0,))
        trainer.train(data, 3, rng)
        fusion.fuse()
        try:
            trainer.train(data, 3, rng)
        finally:
            fusion.fuse(False)
        steps = [state["step"].item() for state in trainer.optimizers["policy"].state.values()]
        assert set(steps) == {6}
        trainer.train(data, 1, rng)
        other = make_trainer(small_config("gaussian"), (0,))
        other.train(data, 7, double_rng((0,)))
        for a, b in zip(trainer.policy.parameters(), other.policy.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def network(lead, sizes, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    draw = [torch.randn(*lead, a, b, generator=g, dtype=dtype) / a**0.5 for a, b in itertools.pairwise(sizes)]
    biases = [torch.randn(*lead, b, generator=g, dtype=dtype) for b in sizes[1:]]
    return [w.requires_grad_() for w in draw], [b.requires_grad_() for b in biases], g


@needs_compiler
class TestNetwork:
    @pytest.mark.parametrize("rows", [1, 13, 64, 65, 200])
    @pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 20, 20, 3), (5, 48, 48, 48, 17), (40, 33, 33, 2)])
    @pytest.mark.parametrize("threads", [1, 3])
    def test_values_and_gradients_are_torchs(self, compiled, rows, sizes, threads):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        weights, biases, g = network((2, 2), sizes)
        x = torch.randn(2, rows, sizes[0], generator=g, dtype=torch.float64).requires_grad_()
        shared = x[:, None].expand(-1, 2, -1, -1)
        try:
            assert network_pass.applies(shared, weights)
            outs = [f(shared, weights, biases) for f in (network_pass.plain, network_pass.run)]
        finally:
            torch.set_num_threads(before)
        torch.testing.assert_close(*outs, rtol=1e-12, atol=1e-12)
        probe = torch.randn(outs[0].shape, generator=g, dtype=torch.float64)
        grads = [torch.autograd.grad(out, [x, *weights, *biases], probe) for out in outs]
        for a, b in zip(*grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)

    def test_extreme_inputs(self, compiled):
        weights, biases, _ = network((1,), (1, 1, 1))
        with torch.no_grad():
            weights[0].fill_(1), biases[0].fill_(0)
        x = torch.tensor([-1e30, -800.0, -90.0, -30.0, 0.0, 19.9, 30.0, 800.0, 1e30], dtype=torch.float64)[
            None, :, None
        ]
        ours, torchs = network_pass.run(x, weights, biases), network_pass.plain(x, weights, biases)
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)

    def test_not_a_number_stays_one(self, compiled):
        weights, biases, _ = network((1,), (2, 8, 8, 1))
        x = torch.tensor([[[0.0, torch.nan], [0.0, 1.0]]], dtype=torch.float64)
        assert network_pass.run(x, weights, biases).isnan().flatten().tolist() == [True, False]

    @pytest.mark.skipif(platform.machine() != "x86_64", reason="only x86's processors are told to")
    def test_what_is_too_small_for_full_precision_is_nothing(self, compiled):
        """Where it is kept, saturated units make training several times slower; outside it is kept as before."""
        tiny = torch.finfo(torch.float64).tiny
        weights, biases, _ = network((1,), (2, 8, 1))
        with torch.no_grad():
            weights[0].fill_(1), weights[1].fill_(1e-3), biases[0].fill_(0), biases[1].fill_(0)
        x = torch.full((1, 3, 2), 100 * tiny, dtype=torch.float64)
        assert (network_pass.plain(x, weights, biases) > 0).all()
        assert (network_pass.run(10 * x, weights, biases) > 0).all()
        assert (network_pass.run(x, weights, biases) == 0).all()
        assert x[0, 0, 0] * 1e-3 > 0

    def test_gradient_of_a_gradient(self, compiled):
        weights, biases, g = network((2,), (3, 8, 8, 1))
        x = torch.randn(2, 5, 3, generator=g, dtype=torch.float64).requires_grad_()
        seconds = []
        for f in (network_pass.plain, network_pass.run):
            (slope,) = torch.autograd.grad(f(x, weights, biases).sum(), x, create_graph=True)
            seconds.append(torch.autograd.grad(slope.square().sum(), [x, *weights]))
        for a, b in zip(*seconds, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)


@needs_compiler
@pytest.mark.parametrize("rows", [3, 70])
def test_a_chain_is_the_sampler_differentiated_by_autograd(compiled, rows):
    S, steps, act, h = 2, 4, 3, 20
    weights, biases, g = network((S,), (act, h, h, act))

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    noise, context, at_time = normal(S, steps + 1, rows, act), normal(S, rows, h), normal(S, steps, h)
    c = torch.tensor([[1.1, -0.7, 0.8, 0.3, 0.2]], dtype=torch.float64).repeat(steps, 1)
    inputs = [context.requires_grad_(), at_time.requires_grad_(), *weights, *biases[1:]]
    parameters = [weights[0]] + [p for pair in zip(biases[1:], weights[1:], strict=True) for p in pair]

    def denoiser(x, t):
        return network_pass.plain(
            (x @ weights[0] + context + at_time[:, t, None]), [torch.eye(h).double()], [0 * biases[0]]
        )

    def tail(x, t):
        return network_pass.plain(torch.nn.functional.mish(denoiser(x, t)), weights[1:], biases[1:])

    by_autograd = run(tail, list(range(steps)), c.tolist(), noise, 1.0)
    by_torch = _TorchChain.apply(noise, c, 1.0, context, at_time, True, *parameters)
    by_kernel = _Chain.apply(noise, c, 1.0, context, at_time, True, *parameters)
    expected = torch.autograd.grad(by_autograd.square().sum(), inputs)
    for x in (by_torch, by_kernel):
        torch.testing.assert_close(x, by_autograd, rtol=1e-11, atol=1e-11)
        for a, b in zip(torch.autograd.grad(x.square().sum(), inputs), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


SIZES = [
    ("diffusion", {"T": 3}),
    ("diffusion", {"T": 3, "clip": False}),
    ("edm", {"sampler": "euler", "sample_steps": 4}),
    ("flow", {"steps": 3}),
]


@pytest.mark.slow
def test_one_process_compiles_a_chain_for_many_classes_and_sizes(monkeypatch):
    """As on a GPU, by a backend that compiles nothing: torch's own limit of eight versions is an error in the ninth."""
    from torch._dynamo import config

    compiles = {chain: ("_forward", "_backward", "_summed"), network_pass: ("_forward", "_backward")}
    with config.patch(recompile_limit=config.recompile_limit, accumulated_recompile_limit=256):
        fusion.allow_versions()
        for module, names in compiles.items():
            for name in names:
                compiled = torch.compile(getattr(module, name).__wrapped__, **fusion.COMPILING, backend="eager")
                monkeypatch.setattr(module, name, compiled)
        monkeypatch.setattr(chain, "covers", lambda net: True)
        monkeypatch.setattr(network_pass, "kernels_apply", lambda *arguments: False)
        monkeypatch.setattr(network_pass, "applies", lambda *arguments: True)
        monkeypatch.setattr(network_pass, "_Network", network_pass._Compiled)
        for (name, options), seeds, rows in itertools.product(SIZES, (1, 3), (4, 9)):
            rng = SeedRng(range(seeds), "train")
            init = generators(range(seeds))
            policy = POLICIES[name](**options).build(TaskSpec("x", 2, 2), NetworkConfig(hidden=16), init)
            with torch.no_grad():
                policy.sample(rng.normal(5 * rows, 2), rng)
            policy.sample(rng.normal(rows, 2), rng).sum().backward()
            assert all(p.grad is not None for p in policy.net.parameters())


def test_without_a_compiler_one_line_says_so(compiler):
    note = compiling.fuse_if_it_pays("on", parse([]).runs, torch.device("cpu"))
    assert "no working C++ compiler" in note
    assert "\n" not in note
    assert not fusion.fused()


@needs_compiler
def test_a_library_that_does_not_load_is_none(compiler, tmp_path):
    compiler('for last; do :; done; case "$last" in *.so) echo garbage > "$last";; esac')
    note = compiling.fuse_if_it_pays("on", parse([]).runs, torch.device("cpu"))
    assert "its library does not load" in note
    assert not list(tmp_path.rglob("*.so"))


@needs_compiler
@pytest.mark.parametrize(
    ("choice", "steps", "compiled", "replayed"),
    [
        ("auto", compiling.WORTH_COMPILING - 1, False, True),
        ("auto", compiling.WORTH_COMPILING, True, True),
        ("on", 1, True, True),
        ("off", compiling.WORTH_COMPILING, False, False),
    ],
)
def test_a_gpu_replays_at_once_and_compiles_for_long_runs(choice, steps, compiled, replayed, monkeypatch):
    monkeypatch.setattr(fusion, "try_out", lambda device: None)
    # two runs: each is compiled for itself
    runs = parse(["--policy", "diffusion", "gaussian", "--steps", str(steps)]).runs
    assert compiling.fuse_if_it_pays(choice, runs, torch.device("cuda")) is None
    assert (fusion.fused(), fusion.replays()) == (compiled, replayed)
    # what is rounded does not hang on how long a run is
    half = parse(["--precision", "bf16", "--steps", "1"]).runs
    assert compiling.fuse_if_it_pays("auto", half, torch.device("cuda")) is None
    assert fusion.fused()


@needs_compiler
def test_a_gpu_that_torch_cannot_compile_for_replays(monkeypatch):
    def fail(device):
        raise native.NoCompiler("no Triton")

    monkeypatch.setattr(fusion, "try_out", fail)
    note = compiling.fuse_if_it_pays("on", parse([]).runs, torch.device("cuda"))
    assert note == "no working C++ compiler (no Triton): training runs uncompiled"
    assert (fusion.fused(), fusion.replays()) == (False, True)


@pytest.mark.parametrize(("lead", "threads"), [(1, 1), (1, 2), (5, 2), (3, 16), (16, 4), (10, 3)])
def test_pieces_keep_all_threads_busy(lead, threads):
    units = lead * native.pieces(lead, threads)
    assert -(-units // threads) * threads <= 1.1 * units or native.pieces(lead, threads) == threads


class TestWhatAGPUCompiles:
    """The same functions as they are written, on the CPU."""

    @pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 20, 20, 3), (5, 48, 48, 48, 17)])
    def test_a_network(self, sizes):
        weights, biases, g = network((2, 3), sizes)
        x = torch.randn(2, 13, sizes[0], generator=g, dtype=torch.float64).requires_grad_()
        shared = x[:, None].expand(-1, 3, -1, -1)
        parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
        outs = [network_pass.plain(shared, weights, biases), network_pass._Compiled.apply(shared, True, *parameters)]
        torch.testing.assert_close(*outs, rtol=1e-12, atol=1e-12)
        firsts = [torch.autograd.grad(out.square().sum(), [x, *parameters], create_graph=True) for out in outs]
        seconds = [torch.autograd.grad(grads[0].square().sum(), [x, *weights]) for grads in firsts]
        for a, b in zip([*firsts[0], *seconds[0]], [*firsts[1], *seconds[1]], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)

    def test_a_network_asked_for_some_of_its_gradients(self):
        weights, biases, g = network((2,), (3, 8, 8, 1))
        parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
        x = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
        probe = torch.randn(2, 5, 1, generator=g, dtype=torch.float64)
        of_x = x.clone().requires_grad_()
        fixed = [p.detach() for p in parameters]
        for inputs, given in [((of_x,), (of_x, fixed)), (parameters, (x, parameters))]:
            out = network_pass._Compiled.apply(given[0], True, *given[1])
            expected = network_pass.plain(given[0], given[1][::2], given[1][1::2])
            grads = [torch.autograd.grad(one, inputs, probe) for one in (out, expected)]
            for a, b in zip(*grads, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)

    def test_rounded_products(self, monkeypatch):
        """bf16 has 8 bits of mantissa: outputs and gradients are near the unrounded, and not the same."""
        weights, biases, g = network((2,), (5, 64, 64, 64, 3), torch.float32)
        parameters = [p for pair in zip(weights, biases, strict=True) for p in pair]
        x = torch.randn(2, 40, 5, generator=g).requires_grad_()
        noise = torch.randn(2, 4, 40, 3, generator=g)
        context, at_time = torch.randn(2, 40, 64, generator=g), torch.randn(2, 3, 64, generator=g)
        c = torch.tensor([[1.1, -0.7, 0.8, 0.3, 0.2]]).repeat(3, 1)
        of_x = torch.randn(2, 3, 64, generator=g).requires_grad_()
        shared = [of_x] + [p for pair in zip(biases[1:], weights[1:], strict=True) for p in pair]
        learned = [context.requires_grad_(), at_time.requires_grad_(), *shared]

        def results():
            out = network_pass._Compiled.apply(x, True, *parameters)
            sampled = _TorchChain.apply(noise, c, torch.inf, context, at_time, True, *shared)
            grads = torch.autograd.grad(out.square().sum(), [x, *parameters])
            return [out, *grads, sampled, *torch.autograd.grad(sampled.square().sum(), learned)]

        plain = results()
        cut = network_pass.rounded
        monkeypatch.setattr(fusion, "precision", lambda: "bf16")
        monkeypatch.setattr(torch.Tensor, "is_cuda", True)
        assert [w.dtype for w in cut(weights)] == [torch.float32, torch.bfloat16, torch.bfloat16, torch.float32]
        errors = itertools.starmap(relative_error, zip(results(), plain, strict=True))
        assert all(1e-5 < error < 2.0**-6 for error in errors)

    @pytest.mark.parametrize("max_norm", [None, 0.5])
    def test_adam_is_torchs(self, max_norm):
        g = torch.Generator().manual_seed(0)
        start = [torch.randn(1, *shape, generator=g, dtype=torch.float64) for shape in ((4, 3), (3,))]
        ours, theirs = ([p.clone().requires_grad_() for p in start] for _ in range(2))
        optimizer, by_torch = ReplicaAdam(ours, 0.01), torch.optim.Adam(theirs, 0.01)
        for _ in range(5):
            grads = [torch.randn(p.shape, generator=g, dtype=torch.float64) for p in ours]
            for parameter, grad in zip(theirs, grads, strict=True):
                parameter.grad = grad.clone()
            norm = torch.nn.utils.clip_grad_norm_(theirs, max_norm or torch.inf)
            by_torch.step()
            norms = optimizer._compiled(ours, grads, max_norm)
            torch.testing.assert_close(norms, norm[None], rtol=1e-12, atol=0)
            for a, b in zip(ours, theirs, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        assert {state["step"].item() for state in optimizer.state.values()} == {5}
