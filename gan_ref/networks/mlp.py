"""Multilayer perceptrons for two-dimensional data, as in the mixtures of Metz et al. 2017, §3.1."""

from __future__ import annotations

from torch import Tensor, nn

from gan_ref.layers import Dropout, GaussianNoise, MinibatchDiscrimination
from gan_ref.networks.dcgan import normalise_spectrally
from gan_ref.networks.output import Output


def hidden(
    inputs: int, width: int, layers: int, slope: float, noise: float = 0.0, dropout: float = 0.0
) -> nn.Sequential:
    """``layers`` pairs of Linear and LeakyReLU(slope), with He's initialisation, which keeps activations'
    scale.
    """
    modules: list[nn.Module] = []
    for k in range(layers):
        linear = nn.Linear(inputs if k == 0 else width, width)
        nn.init.kaiming_normal_(linear.weight, a=slope)
        nn.init.zeros_(linear.bias)
        modules += [GaussianNoise(noise)] if noise else []
        modules += [Dropout(dropout)] if dropout and k > 0 else []
        modules += [linear, nn.LeakyReLU(slope, inplace=True)]
    return nn.Sequential(*modules)


class Generator(nn.Module):
    """z (N, Z) → point (N, dimensions), unbounded."""

    def __init__(self, dimensions: int = 2, width: int = 128, layers: int = 3, latent_dim: int = 100):
        super().__init__()
        self.layers = hidden(latent_dim, width, layers, slope=0.0)
        self.out = nn.Linear(width, dimensions)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.layers(z))


class Discriminator(nn.Module):
    """point (N, dimensions) → Output: score (N,), features (N, width).

    Minibatch discrimination has 16 kernels here instead of the 100 for images. With 100, at batch 256, a step
    of D took forty times as long as without.
    """

    def __init__(
        self,
        dimensions: int = 2,
        width: int = 128,
        layers: int = 3,
        norm: str = "none",
        minibatch_discrimination: bool = False,
        noise: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.separate = not minibatch_discrimination  # each sample is judged by itself
        self.trunk = hidden(dimensions, width, layers, 0.2, noise, dropout)
        self.out_features = width
        kernels = 16 if minibatch_discrimination else 0
        self.similarity = MinibatchDiscrimination(width, kernels) if kernels else nn.Identity()
        self.score = nn.Linear(width + kernels, 1)
        if norm == "spectral":
            normalise_spectrally(self)

    def forward(self, x: Tensor) -> Output:
        features = self.trunk(x)
        return Output(self.score(self.similarity(features)).squeeze(1), features)
