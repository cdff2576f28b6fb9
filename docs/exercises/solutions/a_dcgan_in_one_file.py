"""Chapter "A DCGAN in one file"."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def size_after(n: int, kernel: int, stride: int, padding: int, transposed: bool) -> int:
    """The side of the plane that a convolution makes of one of side n."""
    return (n - 1) * stride - 2 * padding + kernel if transposed else (n + 2 * padding - kernel) // stride + 1


def play_round(
    g: nn.Module,
    d: nn.Module,
    g_optimizer: torch.optim.Optimizer,
    d_optimizer: torch.optim.Optimizer,
    x: Tensor,
    z: Tensor,
) -> tuple[float, float]:
    """A step of D, then one of G against the new D, both with the original losses. Returns the losses."""
    fake = g(z)
    d_loss = F.softplus(-d(x)).mean() + F.softplus(d(fake.detach())).mean()
    d_optimizer.zero_grad()
    d_loss.backward()
    d_optimizer.step()
    g_loss = F.softplus(-d(fake)).mean()
    g_optimizer.zero_grad()
    g_loss.backward()
    g_optimizer.step()
    return d_loss.item(), g_loss.item()
