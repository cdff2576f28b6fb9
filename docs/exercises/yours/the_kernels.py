"""Chapter "The kernels"."""

import torch
from torch import Tensor


def each_pair_once(f: Tensor) -> Tensor:
    """f (N, B, C) → o (N, B), with N(N − 1)/2 distances."""
    raise NotImplementedError


def gradient(f: Tensor, g: Tensor) -> Tensor:
    """f (N, B, C) and g = ∂L/∂o (N, B) → ∂L/∂f (N, B, C)."""
    raise NotImplementedError
