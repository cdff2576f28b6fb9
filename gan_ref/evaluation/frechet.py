"""The Fréchet distance between two sets of features (Heusel et al. 2017, "GANs trained by a two time-scale
update rule converge to a local Nash equilibrium", eq. 6; Dowson & Landau 1982 for the closed form).

    d² = ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)

The usual code hands Σ_a Σ_b, which is not symmetric, to a general matrix square root, adds 1e-6 to the
diagonal when that fails, and drops an imaginary part. None of it is needed. With any factors Σ_a = AᵀA and
Σ_b = BᵀB the eigenvalues of Σ_a Σ_b are the squared singular values of A Bᵀ, so that

    Tr (Σ_a Σ_b)^½ = ‖A Bᵀ‖_*        (nuclear norm: the sum of singular values)

which is real, symmetric in a and b, and indifferent to rank. The centred features themselves are such a
factor: with fewer samples than features, nothing of size F×F is formed.
"""

from __future__ import annotations

import numpy as np

_CHUNK = 4096  # rows turned to float64 at a time


class Moments:
    """Mean and covariance of feature rows that arrive in batches; memory O(F²) whatever their number.

    Batches are merged with Chan, Golub & LeVeque's update (1979), which has no cancellation: with n and m
    rows so far and in the batch, δ the difference of the means and S the scatter Σ (x−μ)(x−μ)ᵀ,

        S ← S + S_batch + n·m/(n+m) · δδᵀ
    """

    def __init__(self, features: np.ndarray | None = None):
        self.count = 0
        self.mean: np.ndarray | None = None  # (F,)
        self._scatter: np.ndarray | None = None  # (F, F)
        if features is not None:
            self.update(features)

    def update(self, features: np.ndarray) -> Moments:
        """Take in (N, F) rows of any float type. ValueError on another shape or a value not finite."""
        features = _rows(features)
        for start in range(0, len(features), _CHUNK):
            self._merge(np.asarray(features[start : start + _CHUNK], dtype=np.float64))
        return self

    def _merge(self, x: np.ndarray) -> None:
        if not np.isfinite(x).all():
            raise ValueError("features must be finite")
        n, m, mean = self.count, len(x), x.mean(0)
        if self.mean is None:
            self.mean, self._scatter = np.zeros_like(mean), np.zeros((len(mean), len(mean)))
        if mean.shape != self.mean.shape:
            raise ValueError(f"features must have {len(self.mean)} columns as those before, got {len(mean)}")
        x, delta = x - mean, mean - self.mean
        self._scatter += x.T @ x
        self._scatter += np.outer(delta * (n * m / (n + m)), delta)
        self.mean = self.mean + delta * (m / (n + m))
        self.count = n + m

    @property
    def cov(self) -> np.ndarray:
        """The unbiased covariance, (F, F) float64. Raises ValueError before the second row."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 samples, got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """d² between the Gaussians fitted to features (N, F) and (M, F), covariances unbiased, in float64.

    It is biased upwards by about O(F/N): compare only at equal N. Raises ValueError on shapes that do not
    fit, fewer than 2 samples, or values that are not finite.
    """
    a, b = _rows(features_a), _rows(features_b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both must have the same number of features, got {a.shape[1]} and {b.shape[1]}")
    return _distance(*_mean_and_factor(a), *_mean_and_factor(b))


def frechet_distance_from_moments(a: Moments, b: Moments) -> float:
    """The same distance from two accumulated sets of moments."""
    return _distance(a.mean, _root(a.cov), b.mean, _root(b.cov))


def _distance(mean_a: np.ndarray, A: np.ndarray, mean_b: np.ndarray, B: np.ndarray) -> float:
    """From means (F,) and factors (R, F), (S, F) of the covariances."""
    nuclear = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    d2 = np.sum((mean_a - mean_b) ** 2) + np.sum(A * A) + np.sum(B * B) - 2 * nuclear
    return float(max(d2, 0.0))  # rounding can put the distance of a set to itself at −1e-15


def _mean_and_factor(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) > x.shape[1]:
        moments = Moments(x)
        return moments.mean, _root(moments.cov)
    if len(x) < 2 or not np.isfinite(x).all():
        raise ValueError("features must be finite, and at least 2 samples")
    x = x.astype(np.float64)
    mean = x.mean(0)
    return mean, (x - mean) / np.sqrt(len(x) - 1)  # (N, F): its own factor


def _root(cov: np.ndarray) -> np.ndarray:
    """A factor R (rank, F) with RᵀR = cov, from the symmetric eigendecomposition.

    Eigenvalues under F·ε·λ_max are rounding and are dropped: kept, a zero direction of one set against a
    direction of variance λ in the other would add √(ε·λ_max·λ), 1e-8 instead of 0.
    """
    values, vectors = np.linalg.eigh(cov)
    kept = values > len(cov) * np.finfo(np.float64).eps * max(values[-1], 0.0)
    return np.sqrt(values[kept])[:, None] * vectors[:, kept].T


def _rows(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2:
        raise ValueError(f"features must be (N, F), got shape {features.shape}")
    return features
