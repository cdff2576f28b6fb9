"""Chapter "Penalties"."""

import cmath
from collections.abc import Callable

import torch
from torch import Tensor


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, ε: Tensor) -> Tensor:
    """E (‖∇s(x̂)‖ − 1)² at x̂ = ε·real + (1 − ε)·fake, on the graph. (N, F), (N, F) and (N, 1) → ()."""
    between = (ε * real + (1 - ε) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return (gradient.norm(dim=1) - 1).square().mean()


def eigenvalues(γ: float) -> tuple[complex, complex]:
    """Those of the Dirac-GAN's field at its equilibrium with R1 of weight γ, the larger real part first."""
    root = cmath.sqrt(γ**2 / 4 - 1 / 4)
    return -γ / 2 + root, -γ / 2 - root
