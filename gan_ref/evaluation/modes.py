"""Mode coverage: how many of the data's modes are seen, and how evenly.

The modes are the classes of the data (Che et al. 2017, Srivastava et al. 2017: a classifier gives each sample
its mode) or the Gaussians of a mixture in the plane, of which the nearest is a point's mode.
"""

from typing import NamedTuple

import numpy as np

from gan_ref.data.dataset import Dataset
from gan_ref.evaluation.inception_score import entropy
from gan_ref.evaluation.neighbours import squared_distances


class Coverage(NamedTuple):
    modes: int  # modes that at least one sample is in; of a mixture, one of high quality
    total: int
    reverse_kl: float  # KL(samples ‖ data) over modes, nats
    entropy: float  # of the samples over modes, nats; log(total) when even
    counts: np.ndarray  # (total,) samples in each mode; of a mixture, those of high quality
    high_quality: float | None = None  # of a mixture, the share of samples within 3σ of their nearest mode


def mode_coverage(labels: np.ndarray, num_modes: int, reference: np.ndarray | None = None) -> Coverage:
    """Coverage of ``num_modes`` modes by samples with integer ``labels`` (N,).

    ``reference`` holds the labels of real data, the distribution that the reverse KL is taken to; without it
    the modes are equally likely. Raises ValueError if a label is not one of the modes.
    """
    if not 0 <= np.min(labels) <= np.max(labels) < num_modes:
        raise ValueError(f"labels must be from 0 to {num_modes - 1}")
    counts = np.bincount(labels, minlength=num_modes)
    real = np.ones(num_modes) if reference is None else np.bincount(reference, minlength=num_modes)
    even = float(entropy(_normalise(counts)))
    return Coverage(int((counts > 0).sum()), num_modes, reverse_kl(counts, real), even, counts)


def points_coverage(points: np.ndarray, data: Dataset) -> Coverage:
    """Coverage of the modes of a mixture by ``points`` (N, 2), or of the cells of a user's own points."""
    return mixture_coverage(points, data.means, data.sigma, None if data.sigma else data.labels)


def mixture_coverage(
    points: np.ndarray, means: np.ndarray, sigma: float | None, reference: np.ndarray | None = None
) -> Coverage:
    """Coverage of the modes at ``means`` (K, D) with standard deviation ``sigma`` by ``points`` (N, D).

    As counted for VEEGAN (Srivastava et al. 2017, §4.1): a sample is of high quality when it is within 3σ of
    its nearest mode; a mode is captured when it is the nearest of at least one sample of high quality. The
    reverse KL (Metz et al. 2017; Lin et al. 2018) puts every sample, of high quality or not, with its nearest
    mode, and compares with equally likely modes, or those of real points (R,) in ``reference``. Without σ any
    finite point is in its nearest cell. A point that is not finite is no sample of any mode. In two
    dimensions a perfect sampler has a high-quality share of 1 − e^(−9/2) = 98.9%, not 100%.
    """
    total, samples = len(means), len(points)
    points = points[np.isfinite(points).all(1)].astype(np.float64)
    d2 = squared_distances(points, means)  # (N, K)
    nearest, close = d2.argmin(1), d2.min(1) <= (np.inf if sigma is None else (3 * sigma) ** 2)
    counts = np.bincount(nearest[close], minlength=total)
    all_counts = np.bincount(nearest, minlength=total)
    real = np.ones(total) if reference is None else np.bincount(reference, minlength=total)
    found, even = int((counts > 0).sum()), float(entropy(_normalise(all_counts)))
    quality = None if sigma is None else float(close.sum() / samples)
    return Coverage(found, total, reverse_kl(all_counts, real), even, counts, quality)


def reverse_kl(counts: np.ndarray, reference: np.ndarray) -> float:
    """KL(q ‖ p) = Σ q log(q/p), nats, of the histograms ``counts`` (q, samples) and ``reference`` (p, data).

    Infinite if samples are in a mode that the data does not have, or if there is no sample at all.
    """
    if not counts.sum():
        return float("inf")
    q, p = _normalise(counts), _normalise(reference)
    seen = q > 0
    with np.errstate(divide="ignore"):
        return float((q[seen] * np.log(q[seen] / p[seen])).sum())


def _normalise(counts: np.ndarray) -> np.ndarray:
    return counts / max(counts.sum(), 1)
