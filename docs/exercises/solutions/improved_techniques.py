"""Chapter "Improved Techniques"."""

import torch
from torch import Tensor


def similarities(m: Tensor) -> Tensor:
    """M (N, B, C) → o (N, B): how near the other samples of the batch are, under each kernel."""
    distances = (m[:, None] - m[None, :]).abs().sum(3)  # (N, N, B)
    return torch.exp(-distances).sum(1) - 1  # without the sample itself, whose distance is 0


def smoothed_best(p_data: float, p_model: float, real: float, fake: float) -> float:
    """The probability that D gives if its targets are ``real`` for reals and ``fake`` for fakes."""
    return (real * p_data + fake * p_model) / (p_data + p_model)
