"""The face network of Larsen & Sønderby (2015, "Generating faces with Torch").

G upsamples by repeating pixels, and convolves. D convolves and takes maxima, with dropout of whole feature
maps and no batch norm. At 64×64 and width 128 these are the authors' layers; at other sizes they follow the
same pattern. G has four times the filters of a D of the same ``width``. Initial weights are U(−1/√n, 1/√n)
for n inputs, as in Torch and as PyTorch does by default.
"""

from torch import Tensor, nn

from gan_ref.layers import Dropout, SpatialDropout, WeightNormConv2d
from gan_ref.networks.dcgan import norm_and_activation, normalise_spectrally
from gan_ref.networks.output import LinearScore
from gan_ref.shapes import ImageSize, first_plane


def inner_plane(image_size: ImageSize) -> tuple[int, int, int]:
    """(h, w, stages): the plane that doubles ``stages`` times up to the image; 8×8 and 3 for 64×64."""
    k_h, k_w, n = first_plane(image_size)
    return 2 * k_h, 2 * k_w, n - 1


class Generator(nn.Module):
    """z (N, Z) → image (N, C, H, W), linear and clipped to [−1, 1] when it is shown."""

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 128,
        latent_dim: int = 512,
        norm: str = "batch",
    ):
        super().__init__()
        h, w, stages = inner_plane(image_size)
        filters = [width, *[2 * width] * (stages - 1), width]
        plane = [nn.Unflatten(1, (width, h, w)), nn.ReLU(inplace=True)]
        self.project = nn.Sequential(nn.Linear(latent_dim, width * h * w), *plane)
        layers: list[nn.Module] = []
        for before, after in zip(filters, filters[1:]):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(before, after, 5, padding=2)]
            layers += norm_and_activation(norm, after, 0.0, 0.9)
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.project(z))  # (N, Z) → (N, F, h, w) → (N, C, H, W)


class Discriminator(LinearScore):
    """image (N, C, H, W) → Output: score (N,), features (N, 8·width).

    ``norm`` is "none" in the article, and "batch" in its panel A, where D becomes too good. The others are as
    in dcgan.Discriminator. ``dropout`` drops feature maps (0.2 in the article), and if it is not 0, half of
    the features are dropped too.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 128,
        norm: str = "none",
        minibatch_discrimination: bool = False,
        dropout: float = 0.2,
    ):
        super().__init__()
        convolution = WeightNormConv2d if norm == "weight" else nn.Conv2d
        first = max(1, width // 4)
        h, w, stages = inner_plane(image_size)
        filters = [channels, *(first * (k + 1) for k in range(stages))]  # 32, 64, 96 at 64×64
        layers: list[nn.Module] = []
        for before, after in zip(filters, filters[1:]):
            layers += [convolution(before, after, 5, padding=2), *norm_and_activation(norm, after, 0.0, 0.9)]
            layers += [nn.MaxPool2d(2), *([SpatialDropout(dropout)] if dropout else [])]
        layers += [nn.Flatten(), nn.Linear(filters[-1] * h * w, 8 * width), nn.ReLU(inplace=True)]
        layers += [Dropout(0.5)] if dropout else []
        self.trunk = nn.Sequential(*layers)
        self.score_features(8 * width, kernels=100 * minibatch_discrimination)
        if norm == "spectral":
            normalise_spectrally(self)
