"""Chapter "Speed"."""

import torch
from torch import Tensor, nn


def g_step_gradients(g: nn.Module, d: nn.Module, z: Tensor) -> list[Tensor]:
    """The gradients of −E d(g(z)) by G's parameters. Those of D get no ``.grad``."""
    return list(torch.autograd.grad(-d(g(z)).mean(), list(g.parameters())))


def from_latent(z: Tensor, weight: Tensor) -> Tensor:
    """z (N, Z) and the weight (Z, C, K, K) of a ConvTranspose2d without bias → (N, C, K, K)."""
    return (z @ weight.flatten(1)).unflatten(1, weight.shape[1:])
