"""Metrics against closed forms, numerical standards, and what their papers say."""

import math

import numpy as np
import pytest

from gan_ref.evaluation.frechet import frechet_distance
from gan_ref.evaluation.inception_score import inception_score
from gan_ref.evaluation.kernel import kernel_distance, mmd2
from gan_ref.evaluation.manifold import precision_recall
from gan_ref.evaluation.modes import mixture_coverage, mode_coverage
from gan_ref.evaluation.neighbours import closest_pair, nearest_neighbours
from gan_ref.evaluation.support import _poisson_interval, birthday_support, twin_distance


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def with_moments(rng, n, mean, root):
    """n rows whose sample mean is ``mean`` and unbiased covariance rootᵀ·root, to rounding."""
    x = rng.normal(size=(n, len(mean)))
    q, _ = np.linalg.qr(x - x.mean(0))
    return q * math.sqrt(n - 1) @ root + mean


# Inception score


def test_certain_and_even_classes_score_the_number_of_classes():
    labels = np.arange(1000) % 10
    mean, std = inception_score(np.eye(10)[labels])
    assert mean == pytest.approx(10, rel=1e-12) and std == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("row", [[1, 0, 0, 0], [0.25] * 4, [1e-300, 1 - 1e-16, 0, 0]])
def test_samples_all_alike_score_one(row):
    mean, std = inception_score(np.tile(row, (50, 1)))
    assert mean == pytest.approx(1, rel=1e-12) and std == pytest.approx(0, abs=1e-12)


def test_inception_score_of_two_rows_worked_by_hand():
    p, q = np.array([[0.9, 0.1], [0.3, 0.7]]), np.array([0.6, 0.4])
    kl = (p * np.log(p / q)).sum(1)
    assert inception_score(p, splits=1) == (pytest.approx(math.exp(kl.mean()), rel=1e-12), 0)


def test_inception_score_is_over_equal_parts_in_order():
    p = np.eye(2)[[0] * 10 + [0, 1] * 5]  # first part all alike, second even
    mean, std = inception_score(p, splits=2)
    assert (mean, std) == (pytest.approx(1.5), pytest.approx(0.5))


@pytest.mark.parametrize("bad", [np.ones((20, 3)), np.full((20, 2), np.nan), np.array([[1.5, -0.5]] * 20)])
def test_rows_that_are_no_distributions_are_refused(bad):
    with pytest.raises(ValueError, match="probabilities"):
        inception_score(bad)
    with pytest.raises(ValueError, match="splits"):
        inception_score(np.eye(2), splits=3)


# Fréchet distance


def test_frechet_of_gaussians_with_known_moments(rng):
    f = 6
    q, _ = np.linalg.qr(rng.normal(size=(f, f)))
    std_a, std_b, shift = np.linspace(1, 3, f), np.linspace(2, 0.5, f), np.linspace(-1, 1, f)
    a = with_moments(rng, 40, np.zeros(f), np.diag(std_a) @ q)
    b = with_moments(rng, 30, shift, np.diag(std_b) @ q)  # commuting covariances: Tr√ = Σ σ_a σ_b
    assert frechet_distance(a, b) == pytest.approx(np.sum(shift**2) + np.sum((std_a - std_b) ** 2), rel=1e-12)


def test_frechet_of_scaled_identity_in_closed_form(rng):
    a = with_moments(rng, 100, np.zeros(8), np.eye(8))
    assert frechet_distance(a, 3 * a + 2) == pytest.approx(8 * (3 - 1) ** 2 + 8 * 2**2, rel=1e-12)


@pytest.mark.parametrize("n", [5, 64, 300])
def test_frechet_of_a_set_to_itself_is_zero_and_the_distance_symmetric(rng, n):
    a, b = rng.normal(size=(n, 64)), rng.normal(size=(n, 64)) ** 3
    assert frechet_distance(a, a) <= 1e-10
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-12)
    assert frechet_distance(a, b) > 1


def test_frechet_does_not_see_a_common_rotation_or_shift(rng):
    a, b = rng.normal(size=(200, 16)) @ rng.normal(size=(16, 16)), rng.normal(size=(150, 16))
    q, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    assert frechet_distance(a @ q + 100, b @ q + 100) == pytest.approx(frechet_distance(a, b), rel=1e-10)


@pytest.mark.parametrize("n", [6, 500], ids=["fewer samples than features", "flat covariance"])
def test_rank_deficient_covariances_are_exact(rng, n):
    """Two sets in orthogonal planes of a 32-dimensional space have Tr(Σ_aΣ_b)^½ = 0, not 1e-7."""
    q, _ = np.linalg.qr(rng.normal(size=(32, 32)))
    a, b = rng.normal(size=(n, 2)) @ q[:2], rng.normal(size=(n, 2)) @ q[2:4]
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + a.var(0, ddof=1).sum() + b.var(0, ddof=1).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-11)
    assert frechet_distance(a, a) <= 1e-12
    full = rng.normal(size=(n, 32))  # against a covariance that is not flat, the factors say what it is
    A, B = (x - x.mean(0) for x in (a, full))
    nuclear = np.linalg.svd(A @ B.T, compute_uv=False).sum() / (n - 1)
    total = np.sum((a.mean(0) - full.mean(0)) ** 2) + (np.sum(A**2) + np.sum(B**2)) / (n - 1)
    assert frechet_distance(a, full) == pytest.approx(total - 2 * nuclear, rel=1e-11)


def test_frechet_agrees_with_the_general_matrix_square_root(rng):
    linalg = pytest.importorskip("scipy.linalg")
    a, b = rng.normal(size=(400, 20)) @ rng.normal(size=(20, 20)), rng.normal(size=(300, 20)) + 0.3
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    trace = np.trace(cov_a + cov_b - 2 * linalg.sqrtm(cov_a @ cov_b).real)
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + trace
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_features_that_do_not_fit_are_refused(rng):
    with pytest.raises(ValueError, match="same number of features"):
        frechet_distance(rng.normal(size=(9, 4)), rng.normal(size=(9, 5)))
    with pytest.raises(ValueError, match="2 samples"):
        frechet_distance(rng.normal(size=(1, 4)), rng.normal(size=(9, 4)))
    with pytest.raises(ValueError, match="finite"):
        frechet_distance(np.full((9, 4), np.nan), rng.normal(size=(9, 4)))


# Kernel distance


def test_kernel_distance_of_four_points_worked_by_hand():
    x, y = np.array([[0.0, 0], [2, 0]]), np.array([[0.0, 2], [2, 2]])
    # k(x1,x2) = 1, k(y1,y2) = (4/2+1)³ = 27, k(x,y) = 1, 1, 1, (4/2+1)³ = 27
    assert mmd2(x, y) == pytest.approx(1 + 27 - 2 * 30 / 4)


def test_kernel_distance_is_unbiased_and_its_error_is_right(rng):
    """Over 60 draws of equal distributions, estimate / error has mean 0 and a spread of about one."""
    ratios = []
    for seed in range(60):
        a, b = rng.normal(size=(2, 400, 5))
        value, error = kernel_distance(a, b, block_size=40, seed=seed)
        ratios.append(value / error)
    assert abs(np.mean(ratios)) < 4 / math.sqrt(60)
    assert 0.7 < np.std(ratios) < 1.5
    value, error = kernel_distance(a, b + 0.5, block_size=40)
    assert value > 5 * error


def test_kernel_distance_does_not_depend_on_the_order_beyond_its_error(rng):
    a, b = rng.normal(size=(500, 5)), rng.normal(size=(500, 5)) * 1.5
    (one, error), (two, _) = kernel_distance(a, b), kernel_distance(a[::-1], b, seed=5)
    assert abs(one - two) < 5 * error
    assert kernel_distance(a, b) == (one, error)
    with pytest.raises(ValueError, match="4 samples"):
        kernel_distance(a[:3], b)


# Precision and recall


def test_identical_sets_have_full_precision_and_recall_and_distant_ones_none(rng):
    x = rng.normal(size=(300, 10))
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x + 100) == (0, 0)
    assert precision_recall(np.zeros((10, 4)) + 7, np.zeros((10, 4)) + 7) == (1, 1)  # balls of radius zero


def test_a_collapsed_generator_keeps_precision_and_loses_recall(rng):
    real = np.concatenate([rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 50])
    fake = rng.normal(size=(400, 2))
    precision, recall = precision_recall(real, fake)
    assert precision > 0.9 and 0.4 < recall < 0.5


def test_precision_and_recall_worked_by_hand_on_the_line():
    real, fake = np.array([[0.0], [1], [2]]), np.array([[2.5], [3.5], [10]])
    # k = 1: real balls reach 1, so 2.5 is inside, 3.5 and 10 are not; fake ones 1, 1 and 6.5: 2 is inside
    assert precision_recall(real, fake, k=1) == (pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_precision_and_recall_do_not_depend_on_the_chunks(rng, monkeypatch):
    real, fake = rng.normal(size=(150, 6)), rng.normal(size=(170, 6)) * 0.7
    whole = precision_recall(real, fake)
    monkeypatch.setattr("gan_ref.evaluation.neighbours._CELLS", 1000)
    assert precision_recall(real, fake) == whole
    with pytest.raises(ValueError, match="k must"):
        precision_recall(real[:3], fake)


# Modes


def test_coverage_of_labels():
    seen = mode_coverage(np.array([0, 0, 2, 2]), 4)
    assert (seen.modes, seen.total) == (2, 4)
    assert seen.reverse_kl == pytest.approx(math.log(2)) and seen.entropy == pytest.approx(math.log(2))
    skewed = mode_coverage(np.array([0, 1]), 2, reference=np.array([0, 0, 0, 1]))
    assert skewed.reverse_kl == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))
    assert mode_coverage(np.arange(10), 10).reverse_kl == pytest.approx(0, abs=1e-15)
    assert mode_coverage(np.array([1]), 2, reference=np.array([0])).reverse_kl == math.inf
    with pytest.raises(ValueError, match="labels"):
        mode_coverage(np.array([4]), 4)


def test_coverage_of_a_mixture_counts_as_veegan_does():
    means, sigma = np.array([[0.0, 0], [10, 0], [0, 10]]), 1.0
    points = np.array([[2.9, 0], [3.1, 0], [0, 0], [6.9, 0], [np.nan, 0]])  # the fourth is 3.1σ off mode 1
    seen = mixture_coverage(points, means, sigma)
    assert seen.modes == 1 and seen.high_quality == 2 / 5
    assert seen.counts.tolist() == [2, 0, 0]
    assert seen.reverse_kl == pytest.approx(0.75 * math.log(0.75 * 3) + 0.25 * math.log(0.25 * 3))


def test_a_perfect_sampler_of_the_grid_has_98_9_percent_of_high_quality(rng):
    means = np.stack(np.meshgrid(np.arange(-4, 5, 2), np.arange(-4, 5, 2)), -1).reshape(-1, 2)
    points = means[rng.integers(25, size=20000)] + 0.05 * rng.normal(size=(20000, 2))
    seen = mixture_coverage(points, means, 0.05)
    assert seen.modes == 25
    assert seen.high_quality == pytest.approx(1 - math.exp(-4.5), abs=4 * math.sqrt(0.011 * 0.989 / 20000))
    assert seen.reverse_kl == pytest.approx(24 / (2 * 20000), rel=1)  # a χ² of 24 degrees over 2N


# Support and neighbours


def test_birthday_estimate_finds_a_known_support(rng):
    atoms = rng.normal(size=(5000, 8)) * 10
    drawn = atoms[rng.integers(5000, size=1000)] + 1e-4 * rng.normal(size=(1000, 8))
    support = birthday_support(drawn, threshold=0.1)
    assert support.low < 5000 < support.high
    assert support.estimate == pytest.approx(5000, rel=0.5)
    assert support.batch == pytest.approx(math.sqrt(2 * math.log(2) * support.estimate))
    i, j, distance = support.closest
    assert i < j and distance == pytest.approx(np.linalg.norm(drawn[i] - drawn[j])) and distance < 0.1


def test_samples_without_twins_only_bound_the_support_from_below(rng):
    support = birthday_support(rng.normal(size=(200, 8)), threshold=1e-6)
    assert support.collisions == 0 and support.estimate == math.inf == support.high
    assert support.low == pytest.approx(19900 / 3.7, rel=0.02)


def test_twin_distance_makes_the_data_its_own_measure(rng):
    real = rng.normal(size=(300, 4))
    threshold = twin_distance(real, rank=10)
    assert birthday_support(real, threshold).collisions == 10
    d = np.linalg.norm(real[:, None] - real, axis=-1)[np.triu_indices(300, 1)]
    assert threshold == pytest.approx(np.sort(d)[9], rel=1e-9)


@pytest.mark.parametrize("count", [0, 1, 3, 10, 100])
def test_poisson_interval_against_the_exact_one(count):
    stats = pytest.importorskip("scipy.stats")
    low, high = _poisson_interval(count)
    assert high == pytest.approx(stats.chi2.ppf(0.975, 2 * count + 2) / 2, abs=0.03)
    assert low == pytest.approx(stats.chi2.ppf(0.025, 2 * count) / 2 if count else 0, abs=0.03)


def test_nearest_neighbours_in_chunks_are_the_nearest(rng, monkeypatch):
    monkeypatch.setattr("gan_ref.evaluation.neighbours._CELLS", 500)
    training = rng.integers(0, 256, size=(90, 4, 4, 3), dtype=np.uint8)
    samples = training[[5, 77]].copy()
    samples[1, 0, 0, 0] ^= 128
    index, distance = nearest_neighbours(samples, training, k=3)
    assert index[:, 0].tolist() == [5, 77]
    assert distance[0, 0] == 0 and distance[1, 0] == pytest.approx(128 / 255)
    exact = np.linalg.norm((samples[:, None].astype(float) - training).reshape(2, 90, -1) / 255, axis=-1)
    np.testing.assert_array_equal(index, np.argsort(exact, axis=1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(exact, axis=1)[:, :3], atol=1e-7)
    assert closest_pair(training[[0, 1, 0]])[::2] == (0, 0.0)


# Against torch-fidelity


def test_formulas_agree_with_torch_fidelity(rng):
    pytest.importorskip("torch_fidelity")
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    a, b = rng.normal(size=(300, 12)), rng.normal(size=(203, 12)) * 1.2 + 0.1
    stats = [fid_features_to_statistics(torch.tensor(x)) for x in (a, b)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-9)

    theirs = isc_features_to_metric(torch.tensor(b), splits=10, shuffle=False)
    mean, std = inception_score(torch.tensor(b).softmax(1).numpy(), splits=10)
    assert mean == pytest.approx(theirs["inception_score_mean"], rel=1e-9)
    assert std == pytest.approx(theirs["inception_score_std"], rel=1e-6)

    a, b = a[:200], b[:200]
    theirs = kid_features_to_metric(torch.tensor(a), torch.tensor(b), kid_subsets=1, kid_subset_size=200)
    assert mmd2(a, b) == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_precision_and_recall_agree_with_torch_fidelity(rng):
    metric = pytest.importorskip("torch_fidelity.metric_prc")
    import torch

    real, fake = rng.normal(size=(300, 6)), rng.normal(size=(300, 6)) * 0.8 + 0.2
    theirs = metric.calculate_precision_recall_full(torch.tensor(fake), torch.tensor(real), 3)
    assert precision_recall(real, fake) == pytest.approx(theirs)
