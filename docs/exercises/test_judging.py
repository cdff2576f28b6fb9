import judging
import numpy as np
import pytest

from gan_ref.evaluation.frechet import frechet_distance
from gan_ref.evaluation.inception_score import inception_score

RNG = np.random.default_rng(0)


def test_the_score_is_that_of_the_package():
    p = RNG.dirichlet(np.ones(5), 40)
    assert judging.score(p) == pytest.approx(inception_score(p, splits=1)[0])


def test_alike_samples_have_1_and_certain_ones_the_number_of_classes():
    assert judging.score(np.full((8, 4), 0.25)) == pytest.approx(1)
    assert judging.score(np.eye(4) * (1 - 4e-9) + 1e-9) == pytest.approx(4, rel=1e-4)


def test_the_distance_is_that_of_the_package():
    x, y = RNG.normal(0, 1, 50), RNG.normal(2, 3, 70)
    assert judging.frechet_of_numbers(x, y) == pytest.approx(frechet_distance(x[:, None], y[:, None]))
