"""The inception score (Salimans et al. 2016, "Improved techniques for training GANs", §4)."""

from __future__ import annotations

import numpy as np


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) ‖ p(y))), as mean and standard deviation over ``splits`` equal parts.

    ``probabilities`` is p(y|x), (N, K), a row a sample, in an order that says nothing of the class (the parts
    are taken in sequence). 1 when all rows are alike, K when they are certain and the classes equally many.

    The expectation is a mutual information, so the logarithm of the score is H(p(y)) − E_x H(p(y|x)): two
    entropies, in which 0·log 0 = 0 is the only special case.

    Raises ValueError when the rows are no distributions or there are fewer rows than parts.
    """
    p = np.asarray(probabilities, dtype=np.float64)  # (N, K)
    if p.ndim != 2 or not np.all(p >= 0) or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError(f"probabilities must be (N, K), each row a distribution; got shape {p.shape}")
    if not 1 <= splits <= len(p):
        raise ValueError(f"splits must be from 1 to the number of samples, {len(p)}; got {splits}")
    edges = np.arange(splits + 1) * len(p) // splits
    scores = [
        np.exp(entropy(part.mean(0)) - entropy(part).mean())
        for part in (p[lo:hi] for lo, hi in zip(edges, edges[1:]))
    ]
    return float(np.mean(scores)), float(np.std(scores))


def entropy(p: np.ndarray) -> np.ndarray:
    """−Σ p log p over the last axis, in nats, with 0·log 0 = 0."""
    return -(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)
