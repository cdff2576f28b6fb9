"""The face network of Larsen & Sønderby (2015, "Generating faces with Torch").

G upsamples by repeating pixels and convolves; D convolves and takes maxima, with dropout of whole feature
maps and no batch norm. At 64×64 and width 128 these are the authors' layers, and at other sizes their
pattern; G has four times the filters of a D of the same ``width``. Weights begin as Torch's did,
U(−1/√n, 1/√n) for n inputs, which is PyTorch's own default.
"""

from __future__ import annotations

from torch import Tensor, nn

from gan_ref.layers import Dropout, MinibatchDiscrimination, SpatialDropout, WeightNormConv2d, spectral_norm
from gan_ref.networks.dcgan import normalised
from gan_ref.networks.output import Output


def stages(image_size: int) -> int:
    """How often the side doubles from 8 to ``image_size``."""
    return image_size.bit_length() - 4


class Generator(nn.Module):
    """z (N, Z) → image (N, C, S, S), from a linear layer: samples are clipped to [−1, 1] when shown."""

    def __init__(
        self, image_size: int, channels: int, width: int = 128, latent_dim: int = 512, norm: str = "batch"
    ):
        super().__init__()
        filters = [width, *[2 * width] * (stages(image_size) - 1), width]
        self.project = nn.Sequential(
            nn.Linear(latent_dim, width * 8 * 8), nn.Unflatten(1, (width, 8, 8)), nn.ReLU(inplace=True)
        )
        layers: list[nn.Module] = []
        for before, after in zip(filters, filters[1:]):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(before, after, 5, padding=2)]
            layers += normalised(norm, after, 0.0, 0.9)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.project(z))  # (N, Z) → (N, W, 8, 8) → (N, C, S, S)


class Discriminator(nn.Module):
    """image (N, C, S, S) → Output: score (N,), features (N, 8·width).

    ``norm`` is "none" in the article, and "batch" in its panel A, where D becomes too good; the others are as
    in dcgan.Discriminator. ``dropout`` is of feature maps (0.2 in the article); with any, half of the
    features are dropped too.
    """

    def __init__(
        self,
        image_size: int,
        channels: int,
        width: int = 128,
        norm: str = "none",
        minibatch_discrimination: bool = False,
        dropout: float = 0.2,
    ):
        super().__init__()
        convolution = WeightNormConv2d if norm == "weight" else nn.Conv2d
        first = max(1, width // 4)
        filters = [channels, *(first * (k + 1) for k in range(stages(image_size)))]  # 32, 64, 96 at 64×64
        layers: list[nn.Module] = []
        for before, after in zip(filters, filters[1:]):
            layers += [convolution(before, after, 5, padding=2), *normalised(norm, after, 0.0, 0.9)]
            layers += [nn.MaxPool2d(2), *([SpatialDropout(dropout)] if dropout else [])]
        layers += [nn.Flatten(), nn.Linear(filters[-1] * 8 * 8, 8 * width), nn.ReLU(inplace=True)]
        layers += [Dropout(0.5)] if dropout else []
        self.trunk = nn.Sequential(*layers)
        self.similarity = MinibatchDiscrimination(8 * width) if minibatch_discrimination else nn.Identity()
        seen = 8 * width + (self.similarity.num_kernels if minibatch_discrimination else 0)
        self.score = nn.Linear(seen, 1)
        if norm == "spectral":
            for layer in [*self.modules()]:
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    spectral_norm(layer)

    def forward(self, x: Tensor) -> Output:
        features = self.trunk(x)  # (N, C, S, S) → (N, 8·width)
        return Output(self.score(self.similarity(features)).squeeze(1), features)
