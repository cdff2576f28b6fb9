"""Multilayer perceptrons for two-dimensional data, as in the mixtures of Metz et al. 2017, §3.1.

The settings' ``network`` says what stands between their layers: "relu" or "tanh" in both, or "maxout", which
is batch norm and ReLU in G and maxout of 5 pieces in D (Lin et al. 2018, the authors' code). Otherwise it is
ReLU in G and leaky ReLU in D.
"""

from torch import Tensor, nn

from gan_ref.config import POINT_NETWORKS
from gan_ref.layers import Dropout, GaussianNoise, Maxout
from gan_ref.networks.dcgan import normalise_spectrally
from gan_ref.networks.output import LinearScore

PIECES = 5  # of maxout


def hidden(
    inputs: int,
    width: int,
    layers: int,
    between: str,
    noise: float = 0.0,
    dropout: float = 0.0,
    norm_decay: float = 0.9,
) -> nn.Sequential:
    """``layers`` pairs of Linear and an activation, with He's initialisation, which keeps activations' scale.

    The activation ``between`` them is relu, leaky, tanh, maxout, or norm: batch norm and ReLU.
    """
    modules: list[nn.Module] = []
    for k in range(layers):
        pieces = PIECES if between == "maxout" else 1
        linear = nn.Linear(inputs if k == 0 else width, width * pieces, bias=between != "norm")
        nn.init.kaiming_normal_(linear.weight, a=0.2 if between == "leaky" else 0.0)
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
        modules += [GaussianNoise(noise)] if noise else []
        modules += [Dropout(dropout)] if dropout and k > 0 else []
        modules += [linear]
        if between == "maxout":
            modules += [Maxout(pieces)]
        elif between == "tanh":
            modules += [nn.Tanh()]
        else:
            modules += [nn.BatchNorm1d(width, momentum=1 - norm_decay)] if between == "norm" else []
            modules += [nn.LeakyReLU(0.2 if between == "leaky" else 0.0, inplace=True)]
    return nn.Sequential(*modules)


class Generator(nn.Module):
    """z (N, Z) → point (N, dimensions), unbounded."""

    def __init__(
        self,
        dimensions: int = 2,
        width: int = 128,
        layers: int = 3,
        latent_dim: int = 100,
        network: str = "relu",
        norm_decay: float = 0.9,
    ):
        super().__init__()
        between = {"tanh": "tanh", "maxout": "norm"}.get(network, "relu")
        self.layers = hidden(latent_dim, width, layers, between, norm_decay=norm_decay)
        self.out = nn.Linear(width, dimensions)

    def forward(self, z: Tensor) -> Tensor:
        return self.out(self.layers(z))


class Discriminator(LinearScore):
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
        network: str = "leaky",
    ):
        super().__init__()
        self.separate = not minibatch_discrimination  # each sample is judged by itself
        between = network if network in POINT_NETWORKS else "leaky"
        self.trunk = hidden(dimensions, width, layers, between, noise, dropout)
        self.score_features(width, kernels=16 * minibatch_discrimination)
        if norm == "spectral":
            normalise_spectrally(self)
