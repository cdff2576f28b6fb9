"""Nearest neighbours: distances in chunks, the nearest training images, the closest pair.

The nearest training image answers the first question about a good sample, "is it memorised?", and the closest
pair of samples the second, "does it repeat itself?". Both are pictures to look at, with their distances.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_CELLS = 1 << 22  # distances held at a time: 32 MB in float64


def flatten(samples: np.ndarray) -> np.ndarray:
    """(N, …) to (N, F) float64: bytes are scaled to [0, 1], other numbers kept."""
    samples = np.asarray(samples)
    rows = samples.reshape(len(samples), -1).astype(np.float64)
    return rows / 255 if samples.dtype == np.uint8 else rows


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """‖a_i − b_j‖² for a (N, F) and b (M, F): (N, M) float64, as ‖a‖² + ‖b‖² − 2ab.

    What that form leaves of a zero, some 1e-16 of the squared norms, is put back to exactly zero, so that a
    point counts as lying inside the smallest ball around itself.
    """
    norms = (a * a).sum(1)[:, None] + (b * b).sum(1)
    d2 = norms - 2 * (a @ b.T)
    return np.where(d2 > 1e-13 * norms, d2, 0.0)


def chunks(count: int, width: int) -> Iterator[slice]:
    """Slices of range(count) such that a slice times ``width`` distances stay within 32 MB."""
    rows = max(1, _CELLS // max(1, width))
    return (slice(start, min(start + rows, count)) for start in range(0, count, rows))


def nearest_neighbours(
    samples: np.ndarray, training: np.ndarray, k: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Indices and Euclidean distances, both (N, k), of each sample's k nearest in ``training``, in order.

    Samples (N, …) and training (M, …) are images of bytes (compared in [0, 1]), points or features. The
    training set is read in chunks: it may be a memory map larger than memory.
    """
    if not 1 <= k <= len(training):
        raise ValueError(f"k must be from 1 to the size of the training set, {len(training)}; got {k}")
    x = flatten(samples)  # (N, F)
    best_d2, best_index = np.empty((len(x), 0)), np.empty((len(x), 0), dtype=np.int64)
    for part in chunks(len(training), max(len(x), x.shape[1])):
        d2 = np.hstack([best_d2, squared_distances(x, flatten(training[part]))])
        index = np.hstack([best_index, np.tile(np.arange(part.start, part.stop), (len(x), 1))])
        order = np.argsort(d2, axis=1, kind="stable")[:, :k]
        best_d2, best_index = np.take_along_axis(d2, order, 1), np.take_along_axis(index, order, 1)
    return best_index, np.sqrt(best_d2)


def closest_pair(samples: np.ndarray) -> tuple[int, int, float]:
    """Indices i < j and Euclidean distance of the two most alike of at least two samples (N, …)."""
    if len(samples) < 2:
        raise ValueError("a pair needs at least 2 samples")
    x, best = flatten(samples), (0, 1, np.inf)
    for rows, d2 in _upper_triangle(x):
        i, j = np.unravel_index(np.argmin(d2), d2.shape)
        if d2[i, j] < best[2]:
            best = (rows.start + int(i), int(j), float(d2[i, j]))
    return best[0], best[1], float(np.linalg.norm(x[best[0]] - x[best[1]]))


def closest_distances(samples: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` smallest distances between two of the samples (N, …), in ascending order."""
    best = np.empty(0)
    for _, d2 in _upper_triangle(flatten(samples)):
        near = np.concatenate([best, d2[np.isfinite(d2)]])
        best = np.sort(np.partition(near, count - 1)[:count] if len(near) > count else near)
    return np.sqrt(best)


def count_pairs(samples: np.ndarray, within: float) -> int:
    """How many pairs of the samples (N, …) are at most ``within`` apart."""
    limit = within**2 * (1 + 1e-12)  # so that a pair's own distance, rounded, still includes it
    return sum(int((d2 <= limit).sum()) for _, d2 in _upper_triangle(flatten(samples)))


def _upper_triangle(x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows of the matrix of squared distances, with ∞ on and under its diagonal."""
    for rows in chunks(len(x), len(x)):
        d2 = squared_distances(x[rows], x)
        yield rows, np.where(np.arange(len(x)) > np.arange(rows.start, rows.stop)[:, None], d2, np.inf)
