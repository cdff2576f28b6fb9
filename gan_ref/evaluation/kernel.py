"""The kernel distance, KID (Bińkowski et al. 2018, "Demystifying MMD GANs", §4.1)."""

import numpy as np


def kernel_distance(
    features_a: np.ndarray, features_b: np.ndarray, block_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Unbiased squared maximum mean discrepancy with k(x, y) = (xᵀy/F + 1)³, and its standard error.

    ``features_a`` (N, F) and ``features_b`` (M, F) are shuffled with ``seed`` and cut into disjoint blocks of
    ``block_size`` rows (smaller where there would be fewer than ten); the estimate is the mean over the
    blocks. The paper draws overlapping blocks and reports their spread; disjoint ones are independent, so
    that spread/√blocks really is a standard error. Unlike the Fréchet distance it is unbiased at any N, and
    may be negative when the sets agree. Memory is O(block_size²).

    Raises ValueError with fewer than 4 rows in a set.
    """
    n = min(len(features_a), len(features_b))
    if n < 4:
        raise ValueError(f"the kernel distance and its error need at least 4 samples in each set, got {n}")
    blocks = max(n // block_size, min(10, n // 2))
    rng = np.random.default_rng(seed)
    a, b = (
        x[rng.permutation(len(x))[: n // blocks * blocks]].astype(np.float64).reshape(blocks, -1, x.shape[1])
        for x in (features_a, features_b)
    )
    estimates = [mmd2(x, y) for x, y in zip(a, b)]
    return float(np.mean(estimates)), float(np.std(estimates, ddof=1) / np.sqrt(blocks))


def mmd2(x: np.ndarray, y: np.ndarray) -> float:
    """E k(x, x′) + E k(y, y′) − 2 E k(x, y) over distinct pairs, for x (m, F) and y (n, F)."""
    kxx, kyy, kxy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    m, n = kxy.shape
    within_x = (kxx.sum() - np.trace(kxx)) / (m * (m - 1))
    within_y = (kyy.sum() - np.trace(kyy)) / (n * (n - 1))
    return float(within_x + within_y - 2 * kxy.mean())


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3
