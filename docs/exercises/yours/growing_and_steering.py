"""Chapter "Growing and steering"."""

from torch import Tensor


def fade(before: Tensor, new: Tensor, α: float) -> Tensor:
    """(N, C, H, W) of the smaller size, enlarged by repetition, and (N, C, 2H, 2W) → their mixture."""
    raise NotImplementedError


def projection(features: Tensor, plain: Tensor, v: Tensor, labels: Tensor) -> Tensor:
    """φ (N, F), ψ(φ) (N,), V (K, F) and classes (N,) → yᵀVφ + ψ(φ), (N,)."""
    raise NotImplementedError
