"""Schedules and single steps agree with `diffusers`, an independent implementation, to 1e-6 where it has the same.

Differences in convention, each undone here and nowhere else:

- It makes betas in float32. The steps are compared on our float64 levels, put in place of its own.
- It calls x0 "sample" and v "v_prediction". Noise is a generator's; ours is an argument, drawn from a like generator.
- DDIM: eps of the clipped x0 is its `use_clipped_model_output=True`, which is off by default. Its step before t is
  t - T // n, so n must divide T.
- DPM-Solver keeps sigma / alpha, knows no clipping and casts to float32 in `step`: its updates are called directly.
- Zero terminal SNR: DPM-Solver puts abar_T = 2^-24 for 0, so only the schedule itself is compared.
- EDM: a last sigma of 0 is `final_sigmas_type="zero"`; "epsilon" is its name for F. `step` casts to float32. For
  Heun each level but the ends is listed twice.
- It has a "sigmoid" (GeoDiff's betas) that is not ours (Jabri et al.), and neither vp nor a linear rescaled with T.
"""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EDMEulerScheduler,
    HeunDiscreteScheduler,
)
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from policies import karras
from policies.samplers import SAMPLERS, ddim_coefficients, ddpm_coefficients, step, two_step
from policies.schedules import SCHEDULES, make_schedule, rescale_to_zero_terminal_snr, respace

THEIR_TARGET = {"epsilon": "epsilon", "x0": "sample", "v": "v_prediction"}
LENGTHS = [(50, 50), (50, 10), (1000, 20)]


def tensors(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 2, 3, 4, generator=generator, dtype=torch.float64).unbind()


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def twin(kind, whole, n, target, **options):
    """Their scheduler over our levels."""
    scheduler = kind(
        num_train_timesteps=whole.T, prediction_type=THEIR_TARGET[target], timestep_spacing="trailing", **options
    )
    scheduler.alphas_cumprod = whole.alphas_cumprod
    scheduler.set_timesteps(n)
    return scheduler


@pytest.mark.parametrize("T", [5, 50, 1000])
def test_linear_and_cosine(T):
    for ours, theirs in (("linear", "linear"), ("cosine", "squaredcos_cap_v2")):
        scheduler = DDPMScheduler(num_train_timesteps=T, beta_schedule=theirs)
        close(make_schedule(ours, T).betas, scheduler.betas.double())
        close(make_schedule(ours, T).alphas_cumprod, scheduler.alphas_cumprod.double())


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("T", [2, 5, 50, 1000])
def test_zero_terminal_snr(name, T):
    schedule = make_schedule(name, T)
    close(rescale_to_zero_terminal_snr(schedule).betas, rescale_zero_terminal_snr(schedule.betas))


@pytest.mark.parametrize(("T", "n"), [(50, 50), (50, 10), (1000, 7), (1000, 300), (13, 5)])
def test_subsequences(T, n):
    scheduler = DDPMScheduler(num_train_timesteps=T, timestep_spacing="trailing")
    scheduler.set_timesteps(n)
    assert respace(make_schedule("vp", T), n).steps.flip(0).tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize("name", ["vp", "cosine", "linear-rescaled", "sigmoid"])
@pytest.mark.parametrize("target", THEIR_TARGET)
@pytest.mark.parametrize(("T", "n"), LENGTHS)
def test_ddpm(name, target, T, n):
    whole = make_schedule(name, T)
    part = respace(whole, n)
    scheduler = twin(DDPMScheduler, whole, n, target, clip_sample=True, clip_sample_range=0.7)
    said, x = tensors(2)
    for index, c in enumerate(ddpm_coefficients(part, target).tolist()):
        t = scheduler.timesteps[index]
        theirs = scheduler.step(said, t, x, generator=torch.Generator().manual_seed(index)).prev_sample
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(index), dtype=torch.float64)
        close(step(said, x, noise, c, 0.7), theirs)


@pytest.mark.parametrize("name", ["vp", "cosine", "linear-rescaled", "sigmoid"])
@pytest.mark.parametrize("target", THEIR_TARGET)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("T", "n"), LENGTHS)
def test_ddim(name, target, eta, T, n):
    whole = make_schedule(name, T)
    scheduler = twin(DDIMScheduler, whole, n, target, clip_sample=True, clip_sample_range=0.7)
    said, x, noise = tensors(3)
    for index, c in enumerate(ddim_coefficients(respace(whole, n), target, eta).tolist()):
        options = {"eta": eta, "use_clipped_model_output": True, "variance_noise": noise}
        theirs = scheduler.step(said, int(scheduler.timesteps[index]), x, **options).prev_sample
        close(step(said, x, noise, c, 0.7), theirs)


@pytest.mark.parametrize("name", ["vp", "cosine", "linear-rescaled", "sigmoid"])
@pytest.mark.parametrize("target", THEIR_TARGET)
@pytest.mark.parametrize("sampler", ["dpm++1", "dpm++2m", "sde-dpm++1", "sde-dpm++2m"])
@pytest.mark.parametrize(("T", "n"), LENGTHS)
def test_dpm_solver(name, target, sampler, T, n):
    whole = make_schedule(name, T)
    part = respace(whole, n)
    kind = "sde-dpmsolver++" if sampler.startswith("sde") else "dpmsolver++"
    scheduler = twin(DPMSolverMultistepScheduler, whole, n, target, algorithm_type=kind, trained_betas=[0.1] * T)
    ratio = ((1 - part.alphas_cumprod) / part.alphas_cumprod).sqrt().flip(0)
    scheduler.sigmas = torch.cat([ratio, torch.zeros(1, dtype=torch.float64)])
    (x, noise), said = tensors(2), tensors(n, seed=1)
    before = None
    for index, c in enumerate(SAMPLERS[sampler](part, target).tolist()):
        scheduler._step_index = index
        clean = scheduler.convert_model_output(said[index], sample=x)
        if before is None or index == n - 1 or "2m" not in sampler:
            theirs = scheduler.dpm_solver_first_order_update(clean, sample=x, noise=noise)
        else:
            theirs = scheduler.multistep_dpm_solver_second_order_update([before, clean], sample=x, noise=noise)
        if "2m" in sampler:
            ours, kept = two_step(said[index], x, noise, c, None, before)
            close(kept, clean)
        else:
            ours = step(said[index], x, noise, c, None)
        close(ours, theirs)
        before = clean


@pytest.mark.parametrize("n", [5, 18, 40])
@pytest.mark.parametrize("churn", [0.0, 3.0, 100.0])
def test_edm(n, churn):
    data, levels = 0.7, karras.sigmas(n, 0.002, 80.0, 7.0)
    scheduler = EDMEulerScheduler(sigma_data=data)
    scheduler.set_timesteps(n)
    close(levels, scheduler.sigmas.double())
    close(levels[:-1].log() / 4, scheduler.timesteps.double())
    raised = karras.churned(levels.tolist(), churn)
    said, x = (tensor.float() for tensor in tensors(2))
    for index in range(n):
        level, start, end = levels[index].item(), raised[index], levels[index + 1].item()
        scale = karras.precondition(torch.tensor(start, dtype=torch.float64), data)
        close((scale.into * x.double()).float(), scheduler.precondition_inputs(x, start))
        scheduler._step_index, scheduler.is_scale_input_called = index, True
        generator = torch.Generator().manual_seed(index)
        t = scheduler.timesteps[index]
        theirs = scheduler.step(said, t, x, s_churn=churn, generator=generator).prev_sample
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(index))
        start_at = x.double() + (start**2 - level**2) ** 0.5 * noise.double()
        clean = scale.skip * start_at + scale.out * said.double()
        # a step of our sampler from a start that is already raised
        ours = karras.sample(lambda *_, clean=clean: clean, [start, end], start_at[:, None] / start, False, 0.0, None)
        close(ours.float(), theirs)


@pytest.mark.parametrize("n", [2, 6, 20])
def test_heun(n):
    levels = karras.sigmas(n, 0.01, 20.0, 7.0)
    scheduler = HeunDiscreteScheduler(prediction_type="sample", clip_sample=True, clip_sample_range=0.7)
    scheduler.set_timesteps(n)
    scheduler.sigmas = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    (start,) = tensors(1)

    def denoiser(x, sigma):
        return (x / (1 + sigma)).sin()

    x = levels[0] * start
    scheduler._step_index = 0
    seen = [levels[0], *levels[1:-1].repeat_interleave(2)]
    for sigma, t in zip(seen, scheduler.timesteps, strict=True):
        x = scheduler.step(denoiser(x, sigma), t, x).prev_sample
    close(karras.sample(denoiser, levels.tolist(), start[:, None], True, 0.0, 0.7), x)
