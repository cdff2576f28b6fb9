"""The minibatch standard deviation (Karras et al. 2018, "Progressive growing of GANs", §3)."""

import torch
from torch import Tensor, nn

from gan_ref import distributed


class MinibatchDeviation(nn.Module):
    """Append one map that tells how much the samples of a group differ: (N, C, H, W) → (N, C + 1, H, W).

        o = mean over c, h, w of √(var_g x_gchw + ε),   the same number at every pixel and for the group

    A simpler form of minibatch discrimination, without parameters. As in the authors' code a group has four
    samples, every (N/4)th of the batch; where four do not divide N, the largest number below that does. With
    several processes, N counts the samples of all of them.
    """

    def __init__(self, group: int = 4, eps: float = 1e-8) -> None:
        super().__init__()
        self.group, self.eps = group, eps

    def forward(self, x: Tensor) -> Tensor:
        every = self.deviations(distributed.gather(x))  # (N, 1, 1, 1)
        return torch.cat([x, distributed.part(every).expand(-1, 1, *x.shape[2:])], dim=1)

    def deviations(self, x: Tensor) -> Tensor:
        """x (N, C, H, W) → each sample's o, (N, 1, 1, 1)."""
        size = next(size for size in range(self.group, 0, -1) if len(x) % size == 0)
        groups = x.unflatten(0, (size, -1))  # (G, N/G, C, H, W): sample i is in group i mod N/G
        deviation = (groups.var(dim=0, correction=0) + self.eps).sqrt()
        return deviation.mean(dim=(1, 2, 3), keepdim=True).repeat(size, 1, 1, 1)
