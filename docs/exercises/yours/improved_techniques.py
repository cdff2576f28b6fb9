"""Chapter "Improved Techniques"."""

import torch
from torch import Tensor


def similarities(m: Tensor) -> Tensor:
    """M (N, B, C) → o (N, B): how near the other samples of the batch are, under each kernel."""
    raise NotImplementedError


def smoothed_best(p_data: float, p_model: float, real: float, fake: float) -> float:
    """The probability that D gives if its targets are ``real`` for reals and ``fake`` for fakes."""
    raise NotImplementedError
