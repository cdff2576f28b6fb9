"""Normalisation of each pixel's features (Karras et al. 2018, "Progressive growing of GANs", §4.2)."""

from torch import Tensor, nn


class PixelNorm(nn.Module):
    """a / √(mean over channels of a² + ε) at each pixel, of (N, C, …): G's signal cannot escalate.

    There is nothing to learn in it. Of z (N, Z) it makes points on the sphere of radius √Z.
    """

    def __init__(self, eps: float = 1e-8) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.square().mean(dim=1, keepdim=True) + self.eps).rsqrt()
