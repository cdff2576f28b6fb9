"""Chapter "Penalties"."""

import cmath
from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, ε: Tensor) -> Tensor:
    """E (‖∇s(x̂)‖ − 1)² at x̂ = ε·real + (1 − ε)·fake, on the graph. (N, F), (N, F) and (N, 1) → ()."""
    raise NotImplementedError


def eigenvalues(γ: float) -> tuple[complex, complex]:
    """Those of the Dirac-GAN's field at its equilibrium with R1 of weight γ, the larger real part first."""
    raise NotImplementedError
