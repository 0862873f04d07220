"""The diffusion policy: its loss, its options and what they refuse, its chain, and sampling it in another way."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import shutil

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_dataset, make_trainer

from ablations.command.cli import parse
from core import fusion
from core.options import OptionError
from core.rng import SeedRng
from policies import POLICIES, DenoisingPolicy, chain, dpm_solver
from policies.diffusion import DiffusionConfig
from policies.edm import EDMConfig
from policies.flow import FlowConfig
from policies.samplers import DETERMINISTIC, SAMPLERS
from policies.schedules import SCHEDULES, make_schedule
from policies.targets import TARGETS, WEIGHTINGS, convert, loss_weights
from tasks import make_task
from trainers.trainer import Trainer

SEEDS = (0, 1)


def build(config=None, **options):
    config = config or DiffusionConfig(**options)
    return config.build(SPEC, SMALL, generators(SEEDS)).double()


def draw(batch=5):
    rng = double_rng(SEEDS, "evaluate")
    return rng.normal(batch, SPEC.obs_dim), rng.normal(batch, SPEC.act_dim).tanh()


def finite_difference(loss, weight, step=1e-6):
    """The slope of `loss()` along a random direction of a parameter, and that direction."""
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = []
    for signed in (step, -step):
        with torch.no_grad():
            weight += signed * direction
            values.append(loss().item())
            weight -= signed * direction
    return (values[0] - values[1]) / (2 * step), direction


@pytest.mark.parametrize("T", [1, 3, 10])
def test_gradient_of_the_whole_chain_matches_finite_differences(T):
    policy, (obs, _) = build(T=T), draw(3)
    weight = policy.net.layers[0].weight

    def loss():
        return policy.sample(obs, double_rng(SEEDS)).square().sum()

    (gradient,) = torch.autograd.grad(loss(), weight)
    slope, direction = finite_difference(loss, weight)
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("sample_steps", [None, 3])
def test_the_chains_denoiser_is_the_network(sample_steps):
    policy, (obs, _) = build(T=7, sample_steps=sample_steps), draw()
    x = double_rng(SEEDS).normal(5, 3)
    denoiser = policy.denoiser(obs)
    assert policy.steps == ([6, 5, 4, 3, 2, 1, 0] if sample_steps is None else [6, 4, 1])
    for t in policy.steps:
        torch.testing.assert_close(
            denoiser(x, t), policy.predict(x, torch.full((2, 5), t), obs), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize(("target", "weighting"), list(itertools.product(TARGETS, WEIGHTINGS)))
def test_the_loss_is_the_weighted_error_of_the_target(target, weighting):
    policy, (obs, act) = build(T=6, target=target, weighting=weighting), draw()
    rng = double_rng(SEEDS)
    t, noise = rng.integers(6, 5), rng.normal(5, 3)
    abar = make_schedule("vp", 6).alphas_cumprod[t][..., None]
    x = abar.sqrt() * act + (1 - abar).sqrt() * noise
    error = policy.predict(x, t, obs) - convert(noise, x, abar, "epsilon", target)
    expected = (loss_weights(weighting, target, abar) * error.square()).mean(-1)
    torch.testing.assert_close(policy.bc_loss(obs, act, double_rng(SEEDS)), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_the_one_step_estimate_is_the_prediction_of_x0_at_the_losss_noise(target):
    policy, (obs, act) = build(T=6, target=target), draw()
    rng = double_rng(SEEDS)
    t, noise = rng.integers(6, 5), rng.normal(5, 3)
    abar = policy.schedule.alphas_cumprod[t][..., None]
    x = abar.sqrt() * act + (1 - abar).sqrt() * noise
    expected = convert(policy.predict(x, t, obs), x, abar, target, "x0").clamp(-1, 1)
    ours = policy.predict_clean(obs, act, double_rng(SEEDS))
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    assert (torch.autograd.grad(ours.sum(), policy.net.layers[0].weight)[0] != 0).any()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize(("target", "zero"), [("epsilon", False), ("x0", True), ("v", True)])
@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_every_combination_samples_in_the_box(name, target, zero, schedule):
    policy, (obs, _) = (
        build(
            T=8,
            schedule=schedule,
            zero_terminal_snr=zero,
            allow_residual_signal=True,
            target=target,
            sampler=name,
            sample_steps=4,
        ),
        draw(),
    )
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter *= 10
        actions = policy.sample(obs, double_rng(SEEDS))
    assert actions.isfinite().all()
    assert actions.abs().max() <= 1


def test_a_deterministic_sampler_draws_its_start_alone():
    obs, _ = draw()
    for name in SAMPLERS:
        rng, drawn = double_rng(SEEDS), []
        normal = rng.normal
        rng.normal = lambda *shape, normal=normal, drawn=drawn: drawn.append(shape) or normal(*shape)
        build(T=5, sampler=name, sample_steps=3).sample(obs, rng)
        assert drawn == [(1 if name in DETERMINISTIC else 4, 5, 3)]


def test_numbers_of_the_schedule_are_not_rounded_on_the_way_to_another_dtype():
    policy = build(T=5)
    for _ in range(2):
        assert torch.equal(policy.levels[:, 0], policy.schedule.alphas_cumprod.sqrt())
        policy = policy.float().double()
    assert policy.float().levels.dtype == torch.float32
    assert policy.times.dtype == torch.int64
    assert not any(name in policy.state_dict() for name in ("levels", "times", "coefficients"))


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_trained_network_can_be_sampled_another_way(name):
    obs, _ = draw()
    options = {"T": 10, "sampler": name, "sample_steps": 4, "grad_steps": 2, "clip": False}
    trained, of_its_own, resampled = build(T=10), build(**options), build(**options)
    with torch.no_grad():
        for policy in (trained, of_its_own):
            for parameter in policy.parameters():
                parameter *= 0.5
    resampled.load_state_dict(trained.state_dict())
    assert torch.equal(resampled.sample(obs, double_rng(SEEDS)), of_its_own.sample(obs, double_rng(SEEDS)))


class TestGuidance:
    slope = torch.tensor([1.0, -1.0, 0.5], dtype=torch.float64)

    @pytest.mark.parametrize("through", [False, True])
    @pytest.mark.parametrize("options", [{}, {"target": "v", "zero_terminal_snr": True, "sampler": "dpm++2m"}], ids=str)
    def test_raises_what_it_follows_and_scale_zero_is_plain(self, options, through):
        policy, (obs, _) = build(T=10, **options), draw(200)

        def guide(scale):
            return policy.guided_sample(obs, double_rng(SEEDS), lambda a: self.slope.expand_as(a), scale, through)

        with torch.no_grad():
            torch.testing.assert_close(guide(0.0), policy.sample(obs, double_rng(SEEDS)), rtol=0, atol=0)
            values = [(guide(scale) @ self.slope).mean().item() for scale in (0.0, 0.1, 0.3)]
            assert values == sorted(values)
            assert values[2] > values[0] + 0.05
            assert guide(100.0).abs().max() <= 1

    def test_who_can_be_guided_is_stated_by_type(self):
        able = [name for name, config in POLICIES.items() if issubclass(config.builds, DenoisingPolicy)]
        assert able == ["diffusion", "edm", "sde"]


class TestRefusals:
    BAD = {
        "--policy.schedule linear": "--policy.schedule linear at T = 50 leaves 60% of the signal",
        "--policy.schedule linear --policy.T 5": "leaves 95% of the signal",
        "--policy.zero-terminal-snr": "--policy.zero-terminal-snr cannot be had with target epsilon",
        "--policy.zero-terminal-snr --policy.target v --policy.T 1": "zero-terminal-snr needs T of at least 2",
        "--policy.zero-terminal-snr --policy.target v --policy.weighting matched": "cannot be had with weighting",
        "--policy.T 5 --policy.sample-steps 6": "--policy.sample-steps must be at most T = 5, got 6",
        "--policy.sample-steps 4 --policy.grad-steps 5": "--policy.grad-steps must be at most the sampler's 4 steps",
        "--policy.eta 0.5": "--policy.eta is of sampler ddim, and ddpm has none",
        "--policy.eta 1.5 --policy.sampler ddim": "--policy.eta must be at most 1",
        "--policy.min-snr-gamma 3": "--policy.min-snr-gamma is of weighting min-snr, and uniform has none",
        "--policy.sampler dpm-3s": "--policy.t-end must be more than 0.00997 with sampler dpm-3s, schedule vp",
        "--policy.target noise": "--policy.target must be one of epsilon, x0, v, got 'noise'",
        "--policy.grad-steps 0": "improvement q-max differentiates through samples, and those of policy diffusion",
        "--policy edm --policy.grad-steps 0": "and those of policy edm pass no gradient as configured",
        "--policy edm --policy.T 5": "--policy.T is an option of policy diffusion, not of edm",
    }

    @pytest.mark.parametrize("arguments", BAD)
    def test_bad_input_is_one_line(self, arguments, tmp_path, refused):
        assert self.BAD[arguments] in refused(*arguments.split(), "--out", str(tmp_path / "out"))

    @pytest.mark.parametrize("name", sorted(SCHEDULES))
    @pytest.mark.parametrize("T", [1, 2, 5, 20, 50, 200, 240, 1000])
    def test_only_linear_at_small_T_leaves_too_much_signal(self, name, T):
        left = make_schedule(name, T).alphas_cumprod[-1]
        assert (left > 0.1) == ((name == "linear" and T < 240) or (name, T) == ("linear-sde", 1))
        if left > 0.1:
            with pytest.raises(OptionError, match="use vp, cosine, sigmoid or linear-rescaled"):
                DiffusionConfig(T=T, schedule=name)
        DiffusionConfig(T=T, schedule=name, allow_residual_signal=True)

    def test_switches_have_two_positions(self):
        (on,) = parse(["--policy.schedule", "linear", "--policy.allow-residual-signal", "--no-policy.clip"]).runs
        expected = DiffusionConfig(T=50, time_dim=4, schedule="linear", allow_residual_signal=True, clip=False)
        assert on.parts.policy == expected
        (off,) = parse(["--no-policy.allow-residual-signal", "--policy.clip", "--policy.grad-steps", "3"]).runs
        assert off.parts.policy == DiffusionConfig(T=50, time_dim=4, grad_steps=3)

    def test_the_default_is_the_released(self):
        default = DiffusionConfig()
        assert (default.T, default.schedule, default.target, default.weighting) == (5, "vp", "epsilon", "uniform")
        assert (default.sampler, default.sample_steps, default.grad_steps, default.clip) == ("ddpm", None, None, True)
        assert not default.zero_terminal_snr


def gradients_of(policy, obs):
    out = policy.sample(obs, double_rng(SEEDS))
    return [out, *torch.autograd.grad(out.square().sum(), list(policy.parameters()))]


FUSABLE = [
    DiffusionConfig(T=6, sampler="ddim", sample_steps=4),
    DiffusionConfig(T=6, sampler="sde-dpm++1", target="v", zero_terminal_snr=True, grad_steps=2),
    DiffusionConfig(T=6, sampler="dpm++1", target="x0", clip=False, sample_steps=3, grad_steps=1),
    EDMConfig(sampler="euler", sample_steps=6),
    FlowConfig(steps=4),
]


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("config", FUSABLE, ids=lambda c: "-".join([type(c).__name__, *map(str, vars(c).values())]))
def test_the_fused_chain_serves_every_sampler_linear_in_one_prediction(config, monkeypatch):
    policy, (obs, _) = build(config), draw(8)
    plain = gradients_of(policy, obs)
    calls = []
    original = chain.run_through
    monkeypatch.setattr(chain, "run_through", lambda *args: calls.append(1) or original(*args))
    try:
        fusion.fuse()
        fused = gradients_of(policy, obs)
    finally:
        fusion.fuse(False)
    assert calls
    for a, b in zip(plain, fused, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("config", [DiffusionConfig(T=4, sampler="dpm++2m"), EDMConfig(sample_steps=3)], ids=str)
@pytest.mark.parametrize("grad_steps", [1, None])
def test_truncated_chains_train(config, grad_steps):
    trainer = make_trainer(dataclasses.replace(config, grad_steps=grad_steps), SEEDS)
    trainer.train(make_dataset(), 3, double_rng(SEEDS))
    assert all(parameter.isfinite().all() for parameter in trainer.policy.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("target", "weighting"), [("epsilon", "uniform"), ("x0", "min-snr"), ("v", "uniform")])
def test_each_target_finds_the_bandits_modes_at_the_full_toy_budget(target, weighting):
    """With every level weighted alike x0 does not: its effort goes to levels where sampling has little use for it.

    v does, and with min-SNR weights it is still moving at the end.
    """
    with contextlib.suppress(fusion.NoCompiler):
        fusion.fuse()
    options = ["--policy.target", target, "--policy.weighting", weighting, "--seeds", "0", "1", "2"]
    (run,) = parse(["--bc-only", "--steps", "100000", *options]).runs
    task = make_task(run.task)
    trainer = Trainer(run.parts, run.trainer, task.spec, run.seeds)
    trainer.train(task.dataset(), run.budget.steps, SeedRng(run.seeds, "train"))
    with torch.no_grad():
        metrics = task.evaluate(trainer.policy.sample, SeedRng(run.seeds, "evaluate"), 3).metrics
    assert metrics["on_mode"].mean() >= 0.97

    @pytest.mark.parametrize("T", [1, 2, 5, 100, 1000])
    @pytest.mark.parametrize("schedule", SCHEDULES)
    def test_a_sampler_in_time_ends_where_noise_is_left(self, schedule, T):
        least = dpm_solver.least_time(make_schedule(schedule, T))
        options = {"T": T, "schedule": schedule, "sampler": "dpm-3s", "allow_residual_signal": True}
        above = DiffusionConfig(**options, t_end=1.01 * least + 1e-6)
        policy, (obs, _) = build(above), draw(3)
        with torch.no_grad():
            assert policy.sample(obs, double_rng(SEEDS)).isfinite().all()
        if least > 0:
            with pytest.raises(OptionError, match="t_end must be more than"):
                DiffusionConfig(**options, t_end=0.99 * least)
