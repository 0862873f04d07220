"""Every part can be traced whole by torch.compile, with its gradient: no branch on data, no look at a value."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from builders import SMALL, SPEC, double_rng, generators, make_dataset
from torch import nn

from critics import BACKUPS, CriticConfig, Critics
from policies.gaussian import GaussianConfig
from trainers import IMPROVEMENTS, REGULARIZERS
from trainers.divergences import MMD
from trainers.improvements import OneStep, QMax, WeightedRegression

SEEDS = (0, 1)
DATA = make_dataset()[torch.arange(12).view(2, 6)]
DATA = dataclasses.replace(DATA, next_act=DATA.act.flip(1))


class Prepared:
    """Draws made beforehand: a compiled step is handed its noise."""

    def __init__(self, draws):
        self.draws, self.at = draws, 0

    def _next(self, *args):
        self.at += 1
        return self.draws[self.at - 1]

    normal = uniform = integers = _next


class Recording:
    def __init__(self):
        self.rng, self.draws = double_rng(SEEDS), []

    def __getattr__(self, name):
        def draw(*args):
            self.draws.append(getattr(self.rng, name)(*args))
            return self.draws[-1]

        return draw


def built(config):
    part = config.build(SPEC, SMALL, generators(SEEDS))
    return part.double() if isinstance(part, nn.Module) else part


def variants():
    behaviour = {"behaviour": GaussianConfig()}
    yield from ((name, config(**({} if name != "kl" else behaviour))) for name, config in REGULARIZERS.items())
    for kernel, convention in [("gaussian", "brac"), ("laplacian", "bear")]:
        options = {"kernel": kernel, "convention": convention, "pre_tanh": True, "multiplier": "learned"}
        yield f"mmd {kernel} {convention}", MMD(**options, **behaviour, against="behaviour")
    yield from ((name, config()) for name, config in IMPROVEMENTS.items() if config is not OneStep)
    yield from (
        (f"q-max {head}", QMax(head=head, normalizer="dataset", samples=2)) for head in ("min", "mean", "first")
    )
    yield from ((f"weighted {b}", WeightedRegression(baseline=b, normalize=True)) for b in ("value",))
    yield from ((name, config()) for name, config in BACKUPS.items())
    yield "smoothed", BACKUPS["clipped-double-q"](noise=0.2)


def call_of(config):
    """The part as a function of draws, and everything it can pass gradients to."""
    policy, critic = built(GaussianConfig()), built(CriticConfig(layer_norm=True))
    learned = [*policy.parameters(), *critic.parameters()]
    if isinstance(config, tuple(IMPROVEMENTS.values())):
        value = built(BACKUPS["expectile"]()).value
        critics = Critics(critic, critic, value)
        return lambda rng: tuple(config(policy, critics, DATA, rng)), learned
    part = built(config)
    if isinstance(part, nn.Module):
        learned += part.parameters()
    if isinstance(config, tuple(REGULARIZERS.values())):
        return lambda rng: tuple(x for x in part(policy, DATA, rng) if isinstance(x, torch.Tensor)), learned
    if config.has_value:
        return lambda rng: (part.own_loss(critic, DATA), part(critic, None, DATA, rng)), learned
    return lambda rng: (part(critic, policy, DATA, rng),), learned


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), list(variants()), ids=[name for name, _ in variants()])
def test_traced_whole_it_is_what_it_is_untraced(name, config):
    call, learned = call_of(config)
    recording = Recording()
    plain = call(recording)
    torch._dynamo.reset()
    compiled = torch.compile(lambda draws: call(Prepared(draws)), fullgraph=True, backend="aot_eager")
    traced = compiled(recording.draws)
    gradients = []
    for results in (plain, traced):
        total = sum(result.sum() for result in results)
        if total.requires_grad:
            gradients.append(torch.autograd.grad(total, learned, materialize_grads=True, allow_unused=True))
    for a, b in zip([*plain, *(gradients or [()])[0]], [*traced, *(gradients or [()])[-1]], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
