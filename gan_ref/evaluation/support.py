"""The birthday-paradox test of support size (Arora & Zhang 2017, "Do GANs actually learn the distribution?").

Among s samples drawn from S equally likely ones, a duplicate is as likely as not once s ≈ √S: a batch in
which duplicates turn up bounds the support from above, however good each sample looks. No two samples are
equal to the last bit, so "duplicate" means closer than some distance. The paper looks at the closest pairs by
eye, and this module takes the distance from the data (``twin_distance``).
"""

from math import inf, log, sqrt
from typing import NamedTuple

import numpy as np

from gan_ref.evaluation.neighbours import closest_pair, pair_distances


class Support(NamedTuple):
    estimate: float  # samples in the support; ∞ when no pair is closer than the threshold
    low: float  # 95% interval of the estimate
    high: float
    collisions: int  # pairs closer than the threshold
    pairs: int  # n(n−1)/2
    batch: float  # size of batch in which a duplicate is as likely as not, √(2 ln 2 · estimate)
    closest: tuple[int, int, float]  # the closest pair and its distance


def birthday_support(samples: np.ndarray, threshold: float) -> Support:
    """The effective support size 1/Σp² from collisions among n samples (N, …), all pairs compared.

    A pair collides with probability Σp² (1/S for S equally likely samples), so pairs/collisions estimates its
    inverse: a lower bound of the support when its members are not equally likely. The paper's s² is
    ``batch``² = 2 ln 2 · estimate. The interval takes collisions for Poisson, which is right when they are
    few against n. Distances are Euclidean, images of bytes compared in [0, 1].
    """
    distance = pair_distances(samples)[2]
    collisions, pairs = int((distance <= threshold * (1 + 1e-12)).sum()), len(distance)
    few, many = _poisson_interval(collisions)
    estimate = pairs / collisions if collisions else inf
    return Support(
        estimate, pairs / many, pairs / few if few else inf,
        collisions, pairs, sqrt(2 * log(2) * estimate), closest_pair(samples),
    )  # fmt: skip


def twin_distance(real: np.ndarray, rank: int = 10) -> float:
    """The distance under which two samples count as twins: that of the ``rank``-th closest pair of real ones.

    Take as many real samples as there will be fakes: a generator as varied as the data then has about
    ``rank`` twins. Ten rather than one, because real data holds a near-duplicate or two of its own.
    """
    return float(np.partition(pair_distances(real)[2], rank - 1)[rank - 1])


def _poisson_interval(count: int) -> tuple[float, float]:
    """95% interval of a Poisson mean after ``count`` events: Wilson & Hilferty's χ² (1931), within 0.02."""

    def quantile(c: int, z: float) -> float:
        return c * (1 - 1 / (9 * c) + z / (3 * sqrt(c))) ** 3

    return (quantile(count, -1.96) if count else 0.0), quantile(count + 1, 1.96)
