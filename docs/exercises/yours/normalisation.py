"""Chapter "Normalisation"."""

from torch import Tensor


def largest_singular_value(w: Tensor, u: Tensor, iterations: int) -> Tensor:
    """W (M, N) and a first u (M,) → uᵀWv after so many iterations, ()."""
    raise NotImplementedError


def virtual_statistics(x: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """An example x (P,), and its reference batch (R, P) → the mean and variance of all R + 1, each ()."""
    raise NotImplementedError
