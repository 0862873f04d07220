"""Measures between samples against independent oracles, their floor on fresh data, and known corruptions."""

from __future__ import annotations

import numpy as np
import ot
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from tasks.behaviours import BEHAVIOURS
from tasks.behaviours.mixture import Components, Mixture
from tasks.measures import MEASURES, grids
from tasks.measures.distances import energy_distance, sliced_wasserstein
from tasks.measures.gaussian import best_gaussian
from tasks.measures.neighbours import classifier_test, neighbourhoods, votes

#: better is less of these, and more of those
LESS, MORE = (
    ("energy_distance", "sliced_wasserstein", "c2st"),
    ("precision", "recall", "density", "coverage"),
)


def draws(seed, *size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def of(name, seed, count=2000, **options):
    behaviour = BEHAVIOURS[name](**options).build()
    return behaviour.sample(torch.zeros(count, behaviour.obs_dim), torch.Generator().manual_seed(seed))


def measured(x, y):
    return {name: value for measure in MEASURES for name, value in measure(x, y).items()}


@pytest.mark.parametrize("dims", [1, 2, 5])
def test_sliced_wasserstein_is_that_of_optimal_transport(dims):
    """POT solves each projection; a shift by v, of equal samples, has |v| / sqrt(A) on average over directions."""
    x, y = draws(0, 300, dims), 2 * draws(1, 300, dims) + 1
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(dims, 100, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=0)
    expected = ot.sliced_wasserstein_distance(x.numpy(), y.numpy(), projections=directions.numpy())
    assert sliced_wasserstein(x, y) == pytest.approx(float(expected), rel=1e-9)
    exact = ot.emd2_1d(x[:, 0].numpy(), y[:, 0].numpy()) ** 0.5
    assert sliced_wasserstein(x[:, :1], y[:, :1]) == pytest.approx(exact, rel=1e-9)
    many = sliced_wasserstein(x, x + 0.3, projections=20_000)
    assert many == pytest.approx(0.3, rel=0.03)


def test_sliced_wasserstein_of_samples_of_unlike_size():
    x = draws(0, 900, 2)
    assert sliced_wasserstein(x, x[torch.randperm(900, generator=torch.Generator().manual_seed(1))]) == 0
    assert sliced_wasserstein(x[:300], draws(1, 900, 2)) < 0.15


@pytest.mark.parametrize("dims", [1, 3])
def test_energy_distance_of_gaussians_has_its_closed_form(dims):
    """In one dimension E|N(0, s^2)| = s sqrt(2 / pi); elsewhere POT's mean distances."""
    x, y = draws(0, 1500, dims), 1.5 * draws(1, 1500, dims)
    means = [float(np.mean(ot.dist(a.numpy(), b.numpy(), "euclidean"))) for a, b in ((x, y), (x, x), (y, y))]
    assert energy_distance(x, y) == pytest.approx(2 * means[0] - means[1] - means[2], abs=1e-9)
    if dims == 1:
        closed = np.sqrt(2 / np.pi) * (2 * np.sqrt(1 + 1.5**2) - np.sqrt(2) - np.sqrt(2) * 1.5)
        assert energy_distance(x, y) == pytest.approx(closed, abs=0.02)


def test_neighbourhoods_are_those_of_scikit_learn():
    x, y = of("ring", 0, 400), of("ring", 1, 400, modes=5)
    reach = {}
    for name, points in (("x", x), ("y", y)):
        distances, _ = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(points)
        reach[name] = distances[:, -1]
    between = np.linalg.norm(x.numpy()[:, None] - y.numpy()[None], axis=-1)
    inside = between < reach["y"][None]
    found = neighbourhoods(x, y)
    assert found["precision"] == pytest.approx(inside.any(1).mean())
    assert found["recall"] == pytest.approx((between < reach["x"][:, None]).any(0).mean())
    assert found["density"] == pytest.approx(inside.sum() / 5 / 400)
    assert found["coverage"] == pytest.approx(inside.any(0).mean())


def test_the_classifier_votes_as_scikit_learns():
    points = torch.cat([draws(0, 150, 3), draws(1, 150, 3) + 0.7])
    labels = torch.arange(300).ge(150).double()
    fold = torch.arange(300) % 5
    ours = votes(points, labels, fold, [5, 15])
    for k, right in zip((5, 15), ours, strict=True):
        for held in range(5):
            test = fold == held
            other = KNeighborsClassifier(k).fit(points[~test], labels[~test])
            assert float(right[test].mean()) == pytest.approx(other.score(points[test], labels[test]))


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0])
def test_the_classifier_reaches_the_best_accuracy_of_gaussians(shift):
    """Bayes' accuracy between N(0, I) and N(shift, I) is Phi(shift / 2)."""
    x, y = draws(0, 2000, 2), draws(1, 2000, 2)
    y[:, 0] += shift
    assert classifier_test(x, y) == pytest.approx(stats.norm.cdf(shift / 2), abs=0.03)


def test_the_classifier_finds_a_joint_that_marginal_measures_call_equal():
    product, parity, again = of("product", 0), of("parity", 1), of("product", 2)
    for entry in range(4):
        assert stats.ks_2samp(product[:, entry], parity[:, entry]).pvalue > 0.01
        for other in range(entry):
            tables = [np.histogram2d(*of[:, [entry, other]].T.numpy(), bins=2)[0].ravel() for of in (product, parity)]
            assert stats.chi2_contingency(tables).pvalue > 0.01
    assert classifier_test(product, again) == pytest.approx(0.5, abs=0.03)
    assert classifier_test(product, parity) > 0.7


def corrupted(how, much, seed):
    """Samples of the ring, made worse: 1 of `much` is no corruption's whole."""
    act = of("ring", seed)
    if how == "shifted":
        return act + 0.3 * much
    if how == "blurred":
        return act + 0.3 * much * draws(7, *act.shape)
    behaviour = BEHAVIOURS["ring"]().build()
    modes = behaviour.mode_of(torch.zeros(len(act), 2), act)
    kept = act[modes >= round(6 * much)]
    return (
        kept[torch.arange(len(act)) % len(kept)]
        + 0.02 * draws(8, *act.shape) * (torch.arange(len(act)) >= len(kept))[:, None]
    )


@pytest.mark.parametrize(
    ("how", "unmoved"),
    [("shifted", ("recall",)), ("blurred", ("recall",)), ("dropped", ("precision", "density"))],
)
def test_measures_start_at_their_floor_and_grow_along_a_corruption(how, unmoved):
    fresh = of("ring", 0)
    path = [measured(corrupted(how, much, 1), fresh) for much in (0.0, 0.35, 1.0)]
    floor = measured(of("ring", 2), fresh)
    for name in set(LESS + MORE) - set(unmoved):
        values = [row[name] for row in path]
        if name in MORE:
            values = [-value for value in values]
        assert values == sorted(values), name
        assert values[-1] - values[0] > 10 * abs(path[0][name] - floor[name]), name


def test_the_best_gaussian_has_the_datas_moments():
    data = of("ring", 0, weights="uneven")
    drawn = best_gaussian(data, 40_000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), data.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), data.T.cov(), atol=0.01, rtol=0)
    line = torch.linspace(-1, 1, 200).double()[:, None].expand(-1, 2)
    assert best_gaussian(line, 100, torch.Generator().manual_seed(0)).isfinite().all()


def gaussian(mean, std):
    means = torch.tensor([[mean]], dtype=torch.float64)
    return Mixture(Components(torch.zeros(1, 1).double(), means, std))


def test_divergence_on_cells_is_that_of_gaussians():
    """KL(N(m, s^2 I) || N(0, t^2 I)) = log(t / s) 2 - 1 + (2 s^2 + |m|^2) / (2 t^2)."""
    wide, narrow = gaussian([0.0, 0.0], 0.2), gaussian([0.1, -0.05], 0.12)
    none = torch.zeros(1, 2).double()
    p, q = (
        grids.masses(lambda x, one=one: one.log_prob(none.expand(len(x), -1), x), side=80) for one in (narrow, wide)
    )
    expected = 2 * np.log(0.2 / 0.12) - 1 + (2 * 0.12**2 + 0.0125) / (2 * 0.04)
    assert grids.divergence(p, q) == pytest.approx(expected, rel=0.02)
    assert grids.divergence(p, p) == 0
    act = narrow.sample(none.expand(200_000, -1), torch.Generator().manual_seed(0))
    counted = grids.counted(act)
    exact = grids.masses(lambda x: narrow.log_prob(none.expand(len(x), -1), x))
    assert float((counted - exact).abs().sum()) < 0.05


def test_no_policy_lies_above_the_frontier():
    mass = grids.masses(lambda x: BEHAVIOURS["ring"]().build().log_prob(torch.zeros(len(x), 2), x))
    values = draws(0, len(mass))
    kl, reward = grids.frontier(mass, values, np.geomspace(0.01, 100, 200).tolist())
    assert (kl.diff() >= 0).all()
    assert (reward.diff() >= 0).all()
    behaviour = grids.smoothed(mass)
    for seed in range(200):
        scale = 0.1 * (seed % 40)
        other = (behaviour.log() + scale * draws(seed, len(mass)) + scale * values / 2).softmax(0)
        bound = np.interp(grids.divergence(other, behaviour), kl, reward)
        assert float(other @ values) <= bound + 1e-3
