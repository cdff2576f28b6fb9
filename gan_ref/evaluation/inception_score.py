"""The inception score (Salimans et al. 2016, "Improved techniques for training GANs", §4)."""

import numpy as np


def inception_score(probabilities: np.ndarray, splits: int = 10) -> tuple[float, float]:
    """exp(E_x KL(p(y|x) ‖ p(y))), as mean and standard deviation over ``splits`` equal parts.

    ``probabilities`` is p(y|x), (N, K), a row for each sample. The parts are taken in sequence, so the order
    must say nothing about the class. The score is 1 when all rows are alike, and K when they are certain and
    the classes equally many.

    The expectation is a mutual information, so the logarithm of the score is H(p(y)) − E_x H(p(y|x)): two
    entropies, in which 0·log 0 = 0 is the only special case.

    Raises ValueError when the rows are no distributions or there are fewer rows than parts.
    """
    p = np.asarray(probabilities, dtype=np.float64)  # (N, K)
    if not np.all(p >= 0) or not np.allclose(p.sum(1), 1, atol=1e-3):
        raise ValueError("each row of probabilities must be a distribution")
    if splits > len(p):
        raise ValueError(f"splits must be from 1 to the number of samples, {len(p)}; got {splits}")
    edges = np.arange(splits + 1) * len(p) // splits  # as the authors' code cuts
    parts = (p[low:high] for low, high in zip(edges, edges[1:]))
    scores = [np.exp(entropy(part.mean(0)) - entropy(part).mean()) for part in parts]
    return float(np.mean(scores)), float(np.std(scores))


def entropy(p: np.ndarray) -> np.ndarray:
    """−Σ p log p over the last axis, in nats, with 0·log 0 = 0."""
    return np.abs((p * np.log(np.where(p > 0, p, 1.0))).sum(-1))  # abs, so that certainty has 0 and not −0
