"""Nearest neighbours: distances in chunks, the nearest training images, the closest pair.

The nearest training image answers the first question about a good sample, "is it memorised?", and the closest
pair of samples the second, "does it repeat itself?". Both are pictures to look at, with their distances.
"""

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
    x = flatten(samples)  # (N, F)
    best_d2, best_index = np.empty((len(x), 0)), np.empty((len(x), 0), dtype=np.int64)
    for part in chunks(len(training), max(len(x), x.shape[1])):
        d2 = np.hstack([best_d2, squared_distances(x, flatten(training[part]))])
        index = np.hstack([best_index, np.tile(np.arange(part.start, part.stop), (len(x), 1))])
        order = np.argsort(d2, axis=1, kind="stable")[:, :k]
        best_d2, best_index = np.take_along_axis(d2, order, 1), np.take_along_axis(index, order, 1)
    return best_index, np.sqrt(best_d2)


def pair_distances(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of the samples (N, …): indices i < j and Euclidean distances, (N(N−1)/2,) each."""
    x = flatten(samples)
    i, j = np.triu_indices(len(x), 1)
    return i, j, np.sqrt(squared_distances(x, x)[i, j])


def closest_pair(samples: np.ndarray) -> tuple[int, int, float]:
    """Indices i < j and Euclidean distance of the two most alike of at least two samples (N, …)."""
    i, j, distance = pair_distances(samples)
    best = np.argmin(distance)
    a, b = flatten(samples[[i[best], j[best]]])
    return int(i[best]), int(j[best]), float(np.linalg.norm(a - b))
