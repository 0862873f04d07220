"""Known behaviours: each density integrates to one, and each sampler draws from it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from core.options import OptionError
from tasks.behaviours import BEHAVIOURS
from tasks.behaviours.conditional import effects
from tasks.behaviours.curves import ManifoldConfig
from tasks.behaviours.mixture import TAIL, Components, Mixture
from tasks.behaviours.rewards import BAIT, REWARDS
from tasks.behaviours.signs import ParityConfig, ProductConfig
from tasks.behaviours.values import HIGHEST
from tasks.measures.grids import centres

PLANE = [name for name, config in BEHAVIOURS.items() if not {"dims", "contexts"} & set(config.__dataclass_fields__)]
#: what each option of a behaviour in the plane may be; the thinnest modes are as thin as quadrature below resolves
DIALS = {
    "modes": st.integers(1, 6),
    "separation": st.floats(4, 24),
    "anisotropy": st.floats(1, 4),
    "rare": st.sampled_from([None, 0.3, 0.03, 0.003]),
    "weights": st.sampled_from(["even", "uneven"]),
    "thickness": st.floats(0.03, 0.15),
    "turns": st.floats(0.2, 2.5),
    "twist": st.floats(-6, 6),
    "side": st.integers(2, 10),
}
SIDE, SAMPLES = 200, 20_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mass_of_cells(behaviour, obs, cells=20):
    """The mass in cells x cells squares by the midpoint rule, `[cells, cells]`; not normalised."""
    points = centres(SIDE)
    density = behaviour.log_prob(obs.expand(len(points), -1), points).exp() * (2 / SIDE) ** 2
    within = SIDE // cells
    return density.view(cells, within, cells, within).sum((1, 3))


def p_value(act, mass):
    """Of Pearson's test that samples are from the cells' masses, sparse cells taken as one."""
    cells = len(mass)
    place = ((act + 1) / 2 * cells).long().clamp(0, cells - 1)
    counts = torch.bincount(place[:, 0] * cells + place[:, 1], minlength=cells**2).numpy()
    expected = (mass / mass.sum()).flatten().numpy() * len(act)
    sparse = expected < 5
    seen, due = (np.append(of[~sparse], of[sparse].sum()) for of in (counts, expected))
    # mass of the sparse cells as one, unless that is sparse too
    kept = due >= 5
    assert seen[~kept].sum() <= 20
    return stats.chisquare(seen[kept], due[kept] * seen[kept].sum() / due[kept].sum()).pvalue


def check(behaviour, obs):
    """Density against integral and samples."""
    mass = mass_of_cells(behaviour, obs)
    assert float(mass.sum()) == pytest.approx(1, abs=2e-3)
    rows = obs.expand(SAMPLES, -1)
    act = behaviour.sample(rows, generator())
    assert act.abs().max() <= 1 + 1e-12
    assert behaviour.log_prob(rows, act).isfinite().all()
    assert p_value(act, mass) > 1e-4


@pytest.mark.parametrize("name", PLANE)
def test_a_density_integrates_to_one_and_its_sampler_agrees(name):
    check(BEHAVIOURS[name]().build(), torch.zeros(1, 2))


@pytest.mark.parametrize("name", ["ring", "grid", "corners", "pinwheel", "moons", "rings", "spirals", "checkerboard"])
@settings(max_examples=3)
@given(data=st.data())
def test_so_they_do_whatever_the_dials(name, data):
    config = BEHAVIOURS[name]
    options = {key: data.draw(DIALS[key], key) for key in DIALS.keys() & config.__dataclass_fields__.keys()}
    if name == "grid":
        options["modes"] = (options["modes"] + 1) ** 2 if options["modes"] < 4 else 4
    if name == "pinwheel":
        options["modes"] += 1
    if options.get("weights") == "uneven" or options.get("modes") == 1:
        options["rare"] = None
    check(config(**{key: value for key, value in options.items() if value is not None}).build(), torch.zeros(1, 2))


def test_the_samplers_test_finds_a_wrong_density():
    right, wrong = BEHAVIOURS["ring"]().build(), BEHAVIOURS["ring"](separation=9.5).build()
    act = right.sample(torch.zeros(SAMPLES, 2), generator())
    assert p_value(act, mass_of_cells(right, torch.zeros(1, 2))) > 1e-4
    assert p_value(act, mass_of_cells(BEHAVIOURS["ring"](weights="uneven").build(), torch.zeros(1, 2))) < 1e-9
    assert p_value(act, mass_of_cells(wrong, torch.zeros(1, 2))) < 1e-4


@pytest.mark.parametrize("dims", [1, 3, 8])
def test_a_conditional_density_integrates_to_one_in_each_context(dims):
    behaviour = BEHAVIOURS["conditional"](contexts=dims).build()
    for obs in behaviour.contexts(3, generator(dims)):
        check(behaviour, obs[None])


def test_contexts_change_the_number_of_modes_and_everything_else():
    behaviour = BEHAVIOURS["conditional"](contexts=8).build()
    obs = behaviour.contexts(20_000, generator())
    counts = (behaviour.mode_weights(obs) > 0).sum(1)
    assert counts.unique().tolist() == list(range(1, 9))
    np.testing.assert_allclose(counts.bincount()[1:] / len(obs), 1 / 8, atol=0.01)
    for effect in effects(obs).T:
        assert stats.kstest(effect.numpy(), stats.uniform(-1, 2).cdf).pvalue > 1e-3
    # each entry says something
    base = torch.full((1, 8), 0.1, dtype=torch.float64)
    for entry in range(8):
        other = base.clone()
        other[0, entry] = 0.7
        assert not torch.equal(effects(base), effects(other))


@pytest.mark.parametrize("config", [ProductConfig, ParityConfig])
@pytest.mark.parametrize("dims", [2, 5])
def test_densities_of_signs_are_those_of_all_their_modes(config, dims):
    """Against the sum over every vector of signs; between modes, within the reach of several, and outside."""
    behaviour = config(dims=dims, separation=3.0).build()
    act = 2.2 * torch.rand(2000, dims, generator=generator(), dtype=torch.float64) - 1.1
    cut = stats.truncnorm(-behaviour.reach, behaviour.reach)
    vectors = [v for v in itertools.product((-1, 1), repeat=dims) if config is ProductConfig or v.count(1) % 2 == 0]
    each = [cut.pdf((act.numpy() - behaviour.centre * np.array(v)) / behaviour.std) / behaviour.std for v in vectors]
    expected = np.mean([density.prod(-1) for density in each], 0)
    assert (expected > 0).sum() > 100
    np.testing.assert_allclose(behaviour.log_prob(act, act).exp(), expected, rtol=1e-8, atol=1e-12)


def test_parity_differs_from_product_in_the_joint_alone():
    product, parity = (config(dims=4).build() for config in (ProductConfig, ParityConfig))
    obs = torch.zeros(40_000, 2)
    signs = [(of.sample(obs, generator()) > 0).double() for of in (product, parity)]
    for of in signs:
        for picked in ([0, 1, 2], [1, 2, 3], [0, 2, 3]):
            code = of[:, picked] @ torch.tensor([4.0, 2.0, 1.0]).double()
            np.testing.assert_allclose(torch.bincount(code.long()) / len(code), 1 / 8, atol=0.01)
    assert (signs[1].sum(1) % 2 == 0).all()
    assert float((signs[0].sum(1) % 2 == 0).double().mean()) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("config", [ManifoldConfig(dims=2), ManifoldConfig(), ManifoldConfig(dims=24)])
def test_samples_of_many_dimensions_have_their_density(config):
    """E_p[q / p] = 1 for every density q on the support of p: here the same curve with more data on its beginning."""
    behaviour = config.build()
    parts = behaviour.components(torch.zeros(1, 2))
    tilt = torch.linspace(1.0, -1.0, parts.means.shape[1]).double()
    other = Mixture(Components((parts.log_weights + tilt).log_softmax(-1), parts.means, parts.std))
    obs = torch.zeros(1500, 2)
    act = behaviour.sample(obs, generator())
    ratio = (other.log_prob(obs, act) - behaviour.log_prob(obs, act)).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=5 * float(ratio.std()) / math.sqrt(len(ratio)))
    # and its normalisation, by a mode alone
    single = Mixture(Components(torch.zeros(1, 1).double(), parts.means[:, :1], parts.std))
    gap = parts.std * torch.eye(config.dims)[:1].double()
    expected = stats.norm.logpdf(1) + (config.dims - 1) * stats.norm.logpdf(0)
    found = single.log_prob(obs[:1], parts.means[0, :1] + gap)
    assert float(found) == pytest.approx(expected - config.dims * math.log(parts.std) - math.log1p(-TAIL))


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_modes_weights_and_rewards_fit_the_samples(name):
    behaviour = BEHAVIOURS[name]().build()
    obs = behaviour.contexts(1, generator()).expand(3000, -1)
    act = behaviour.sample(obs, generator()).requires_grad_()
    weights = behaviour.mode_weights(obs[:1])
    modes = behaviour.mode_of(obs, act.detach())
    assert (modes >= 0).all()
    np.testing.assert_allclose(torch.bincount(modes, minlength=weights.shape[1]) / 3000, weights[0], atol=0.03)
    assert behaviour.distance(obs, act).max() <= 1e-9
    rarest = behaviour.rarest(obs[:1])
    assert behaviour.log_prob(obs[:1], rarest).isfinite().all()
    for reward in REWARDS.values():
        value = reward(behaviour, obs, act)
        assert value.max() <= HIGHEST + 1e-9
        (slope,) = torch.autograd.grad(value.sum(), act)
        assert slope.isfinite().all()
    assert float(REWARDS["needle"](behaviour, obs[:1], rarest)) == pytest.approx(HIGHEST)


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_rewards_differ_outside_the_data_as_they_say(name):
    behaviour = BEHAVIOURS[name]().build()
    obs = behaviour.contexts(1, generator())
    inside = behaviour.sample(obs, generator())
    far = torch.full((1, behaviour.act_dim), 9.0, dtype=torch.float64)

    def of(reward, act):
        return float(REWARDS[reward](behaviour, obs, act))

    assert of("on-support", inside) == of("trap", inside) == of("as-released", inside)
    assert 0 <= of("as-released", far) <= HIGHEST + 1e-9
    assert of("on-support", far) == pytest.approx(0)
    assert of("trap", far) == pytest.approx(BAIT)


@pytest.mark.parametrize("weight", [0.3, 0.03, 0.003])
def test_a_rare_mode_has_its_weight(weight):
    behaviour = BEHAVIOURS["ring"](rare=weight, modes=5).build()
    weights = behaviour.mode_weights(torch.zeros(1, 2))[0]
    np.testing.assert_allclose(weights, [(1 - weight) / 4] * 4 + [weight])
    if weight < 0.2:
        torch.testing.assert_close(
            behaviour.rarest(torch.zeros(1, 2)), behaviour.components(torch.zeros(1, 2)).means[:, -1]
        )


@pytest.mark.parametrize(
    ("config", "options"),
    [("ring", {"modes": 1, "rare": 0.1}), ("ring", {"weights": "uneven", "rare": 0.1}), ("grid", {"modes": 24})],
)
def test_dials_that_contradict_each_other_are_refused(config, options):
    with pytest.raises(OptionError, match="must be"):
        BEHAVIOURS[config](**options).build()
