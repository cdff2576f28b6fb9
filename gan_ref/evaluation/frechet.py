"""The Fréchet distance between two sets of features (Heusel et al. 2017, "GANs trained by a two time-scale
update rule converge to a local Nash equilibrium", eq. 6; Dowson & Landau 1982 for the closed form).

    d² = ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½)

The usual code hands Σ_a Σ_b, which is not symmetric, to a general matrix square root, adds 1e-6 to the
diagonal when that fails, and drops an imaginary part. None of it is needed. With any factors Σ_a = AᵀA and
Σ_b = BᵀB the eigenvalues of Σ_a Σ_b are the squared singular values of A Bᵀ, so that

    Tr (Σ_a Σ_b)^½ = ‖A Bᵀ‖_*        (nuclear norm: the sum of singular values)

which is real, symmetric in a and b, and indifferent to rank. The centred features are such a factor, and so
is the triangle R of their QR decomposition, which has at most F rows. No covariance is formed: its rounding
would turn a variance of zero into 1e-16, and then a distance of zero into 1e-8.
"""

import numpy as np


def frechet_distance(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """d² between the Gaussians fitted to features (N, F) and (M, F), covariances unbiased, in float64.

    It is biased upwards by about O(F/N): compare only at equal N. Raises ValueError unless both sets are
    finite and have at least 2 samples and the same number of features.
    """
    (mean_a, A), (mean_b, B) = _mean_and_factor(features_a), _mean_and_factor(features_b)
    if len(mean_a) != len(mean_b):
        raise ValueError(f"both must have the same number of features, got {len(mean_a)} and {len(mean_b)}")
    nuclear = np.linalg.svd(A @ B.T, compute_uv=False).sum()
    d2 = np.sum((mean_a - mean_b) ** 2) + np.sum(A * A) + np.sum(B * B) - 2 * nuclear
    return float(max(d2, 0.0))  # rounding can put the distance of a set to itself at −1e-15


def _mean_and_factor(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (F,) and a factor R (min(N, F), F) of the unbiased covariance, RᵀR."""
    x = np.asarray(features, dtype=np.float64)
    if len(x) < 2 or not np.isfinite(x).all():
        raise ValueError("features must be finite, and at least 2 samples")
    mean = x.mean(0)
    return mean, np.asarray(np.linalg.qr((x - mean) / np.sqrt(len(x) - 1), mode="r"))
