"""Chapter "Normalisation"."""

from torch import Tensor


def largest_singular_value(w: Tensor, u: Tensor, iterations: int) -> Tensor:
    """W (M, N) and a first u (M,) → uᵀWv after so many iterations, ()."""
    for _ in range(iterations):
        v = w.T @ u
        v = v / v.norm()
        u = w @ v
        u = u / u.norm()
    return u @ w @ v


def virtual_statistics(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """An example x (P,), and its reference batch (R, P) → the mean and variance of all R + 1, each ()."""
    α = 1 / (len(reference) + 1)
    m, v = x.mean(), x.var(correction=0)
    r, s = reference.mean(), reference.var(correction=0)
    mean = α * m + (1 - α) * r
    return mean, α * (v + (m - mean) ** 2) + (1 - α) * (s + (r - mean) ** 2)
