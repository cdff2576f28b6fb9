"""z from U(−1, 1) instead of N(0, I) (Radford et al. 2016, §4)."""

import math

import torch
from torch import Tensor, nn


class UniformLatent(nn.Module):
    """A generator of u ~ U(−1, 1)^Z as one of z ~ N(0, I): u = 2Φ(z) − 1 = erf(z/√2), number by number.

    So everywhere outside it z is normal: its numbers, walks on spheres and projections are as for other
    generators, and all of their u lie within the cube. What follows z, the class of a conditional G, passes
    as it is.
    """

    def __init__(self, generator: nn.Module, latent_dim: int):
        super().__init__()
        self.generator, self.latent_dim = generator, latent_dim

    def forward(self, z: Tensor) -> Tensor:
        z, y = z[:, : self.latent_dim], z[:, self.latent_dim :]
        return self.generator(torch.cat([torch.erf(z / math.sqrt(2)), y], dim=1))
