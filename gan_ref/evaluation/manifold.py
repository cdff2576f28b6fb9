"""Precision and recall of the manifold (Kynkäänniemi et al. 2019, "Improved precision and recall metric for
assessing generative models", eq. 1–3)."""

import numpy as np

from gan_ref.evaluation.neighbours import chunks, flatten, squared_distances


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 3) -> tuple[float, float]:
    """Precision: the share of fakes on the real manifold. Recall: the share of reals on the fakes' manifold.

    A set's manifold is the union of balls around its members, each as large as the distance to its k-th
    nearest other member. ``real`` (N, F) and ``fake`` (M, F) should be equally many, as a larger set has
    smaller balls. O(N·M·F) time, memory in chunks. Raises ValueError unless there are more than k of both.
    """
    real, fake = flatten(real), flatten(fake)
    if k >= min(len(real), len(fake)):
        raise ValueError(f"k must be less than the size of both sets, got k = {k}")
    centre = real.mean(0)  # distances do not change, their rounding gets smaller
    real, fake = real - centre, fake - centre
    return _share_inside(fake, real, k), _share_inside(real, fake, k)


def _share_inside(points: np.ndarray, members: np.ndarray, k: int) -> float:
    radius2, inside, m = np.empty(len(members)), np.empty(len(points), dtype=bool), len(members)
    for rows in chunks(m, m):  # the k-th other member is the (k+1)-th counting oneself
        radius2[rows] = np.partition(squared_distances(members[rows], members), k, axis=1)[:, k]
    for rows in chunks(len(points), m):
        inside[rows] = (squared_distances(points[rows], members) <= radius2).any(1)
    return float(inside.mean())
