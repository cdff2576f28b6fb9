"""Two-dimensional mixtures of Gaussians, where mode collapse can be seen and counted.

``ring8`` is the ring of Metz et al. 2017 (unrolled GANs): 8 modes on a circle of radius 2, σ 0.02.
``grid25`` is the grid of Srivastava et al. 2017 (VEEGAN): 5×5 modes at {−4, −2, 0, 2, 4}², σ 0.05.
"""

from __future__ import annotations

import numpy as np

from gan_ref.data.dataset import Dataset

POINTS = 100_000


def ring_means(modes: int = 8, radius: float = 2.0) -> np.ndarray:
    """Centres (modes, 2) evenly spaced on a circle, the first at angle 0."""
    angle = 2 * np.pi * np.arange(modes) / modes
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def grid_means(side: int = 5, spacing: float = 2.0) -> np.ndarray:
    """Centres (side², 2) of a square grid about the origin, row by row."""
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


MIXTURES = {"ring8": (ring_means(), 0.02), "grid25": (grid_means(), 0.05)}


def mixture(name: str, seed: int, points: int = POINTS) -> Dataset:
    """Draw from the mixture: the mode uniformly, then x ~ N(mean, σ²I). Labels are the modes."""
    means, sigma = MIXTURES[name]
    rng = np.random.default_rng([seed, len(means)])
    labels = rng.integers(len(means), size=points)
    samples = means[labels] + sigma * rng.standard_normal((points, 2))
    classes = tuple(f"({x:.1f}, {y:.1f})" for x, y in means.round(1) + 0.0)
    return Dataset(name, samples.astype(np.float32), labels, classes, means=means, sigma=sigma)
