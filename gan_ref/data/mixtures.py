"""Two-dimensional data, where mode collapse can be seen and counted.

``ring8`` is the ring of Metz et al. 2017 (unrolled GANs): 8 modes on a circle of radius 2, σ 0.02.
``grid25`` is the grid of Srivastava et al. 2017 (VEEGAN): 5×5 modes at {−4, −2, 0, 2, 4}², σ 0.05.
``swissroll`` is the roll of Gulrajani et al. 2017 (WGAN-GP): (t cos t, t sin t), t ~ U[3π/2, 9π/2], σ 0.25.
Its 200 modes are equal parts of it, which count how much of the roll is reached.
"""

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


def roll(u: np.ndarray) -> np.ndarray:
    """Where the roll is at u (N,) in [0, 1]: (N, 2)."""
    t = 1.5 * np.pi * (1 + 2 * u)
    return t[:, None] * np.stack([np.cos(t), np.sin(t)], axis=1)


MIXTURES = {
    "ring8": (ring_means(), 0.02),
    "grid25": (grid_means(), 0.05),
    "swissroll": (roll((np.arange(200) + 0.5) / 200), 0.25),
}


def modes(name: str, std: float = 0.0) -> tuple[np.ndarray, float]:
    """Centres (K, 2) and σ, scaled so that the centres' standard deviation on an axis is ``std``, if it is
    not 0. (That of ``ring8`` is √2, and that of ``grid25`` √8.)
    """
    means, sigma = MIXTURES[name]
    scale = std / float(np.sqrt(means.var(axis=0).mean())) if std else 1.0
    return scale * means, scale * sigma


def mixture(name: str, seed: int, points: int = POINTS, std: float = 0.0) -> Dataset:
    """Draw from the mixture: the mode uniformly, then x ~ N(mean, σ²I). Labels are the modes.

    Of the roll it is not the middle of a mode's part, but any place in it.
    """
    means, sigma = modes(name, std)
    rng = np.random.default_rng([seed, len(means)])
    labels = rng.integers(len(means), size=points)
    centres = means[labels]
    if name == "swissroll":
        place = roll((labels + rng.random(points)) / len(means))
        centres = place * (sigma / MIXTURES[name][1])
    samples = centres + sigma * rng.standard_normal((points, 2))
    classes = tuple(f"({x:.1f}, {y:.1f})" for x, y in means.round(1) + 0.0)
    return Dataset(name, samples.astype(np.float32), labels, classes, means=means, sigma=sigma)
