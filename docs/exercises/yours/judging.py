"""Chapter "Judging"."""

import numpy as np


def score(p: np.ndarray) -> float:
    """exp(E KL(p(y|x) ‖ p(y))) of probabilities (N, K), none of them 0."""
    raise NotImplementedError


def frechet_of_numbers(x: np.ndarray, y: np.ndarray) -> float:
    """The squared Fréchet distance of Gaussians fitted to x (N,) and y (M,), with σ² = Σ(x − μ)²/(N − 1)."""
    raise NotImplementedError
