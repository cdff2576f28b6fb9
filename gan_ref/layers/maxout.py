"""Maxout (Goodfellow et al. 2013, "Maxout networks")."""

from torch import Tensor, nn


class Maxout(nn.Module):
    """(N, k·C) → (N, C), h_i = max_{j < k} a_{ij}: each output is the largest of its k pieces (their §3)."""

    def __init__(self, pieces: int = 5) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, a: Tensor) -> Tensor:
        return a.unflatten(1, (self.pieces, -1)).amax(dim=1)
