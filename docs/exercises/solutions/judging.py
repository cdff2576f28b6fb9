"""Chapter "Judging"."""

import numpy as np


def score(p: np.ndarray) -> float:
    """exp(E KL(p(y|x) ‖ p(y))) of probabilities (N, K), none of them 0."""
    return float(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))


def frechet_of_numbers(x: np.ndarray, y: np.ndarray) -> float:
    """The squared Fréchet distance of Gaussians fitted to x (N,) and y (M,), with σ² = Σ(x − μ)²/(N − 1)."""
    return float((x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2)
