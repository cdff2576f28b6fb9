"""Chapter "A DCGAN in one file"."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def size_after(n: int, kernel: int, stride: int, padding: int, transposed: bool) -> int:
    """The side of the plane that a convolution makes of one of side n."""
    raise NotImplementedError


def play_round(
    g: nn.Module,
    d: nn.Module,
    g_optimizer: torch.optim.Optimizer,
    d_optimizer: torch.optim.Optimizer,
    x: Tensor,
    z: Tensor,
) -> tuple[float, float]:
    """A step of D, then one of G against the new D, both with the original losses. Returns the losses."""
    raise NotImplementedError
