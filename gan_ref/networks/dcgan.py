"""The deep convolutional GAN (Radford, Metz & Chintala 2016, §3).

Strided convolutions in D and fractionally-strided ones in G instead of pooling; batch norm in both, but not
in G's last layer nor D's first; ReLU in G with tanh at the end, LeakyReLU 0.2 in D; weights from N(0, 0.02²).
"""

from torch import Tensor, nn

from gan_ref.layers import (
    ConditionalBatchNorm2d,
    ConditionedSequential,
    FromLatent,
    GaussianNoise,
    SpatialDropout,
    VirtualBatchNorm2d,
    WeightNormConv2d,
    batch_norm,
    spectral_norm,
)
from gan_ref.networks.output import LinearScore
from gan_ref.shapes import ImageSize, first_plane


def filters(width: int, levels: int) -> list[int]:
    """Filters from the first plane to the one half as large as the image: doubled each time the side halves,
    at most 8·width.

    >>> filters(64, 4)
    [512, 256, 128, 64]
    """
    return [width * min(2**k, 8) for k in reversed(range(levels))]


def norm_and_activation(
    norm: str, features: int, slope: float, decay: float, classes: int = 0
) -> list[nn.Module]:
    """The normalisation called ``norm`` followed by LeakyReLU(slope); slope 0 is ReLU. Batch norm depends on
    the class if there are ``classes``.
    """
    if norm == "virtual":
        return [VirtualBatchNorm2d(features, negative_slope=slope)]  # one kernel does both
    activation = nn.LeakyReLU(slope, inplace=True) if slope else nn.ReLU(inplace=True)
    if classes and norm == "batch":
        return [ConditionalBatchNorm2d(features, classes, decay), activation]
    if norm == "instance":  # of each sample alone (Ulyanov et al. 2016, "Instance normalization")
        return [nn.InstanceNorm2d(features, affine=True), activation]
    return [batch_norm(features, decay), activation] if norm == "batch" else [activation]


def normalise_spectrally(network: nn.Module) -> None:
    """Put a spectral norm on every convolution and linear layer (Miyato et al. 2018)."""
    for layer in list(network.modules()):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            spectral_norm(layer)


NORMS = nn.BatchNorm2d, nn.InstanceNorm2d, VirtualBatchNorm2d, ConditionalBatchNorm2d


def initialise(module: nn.Module) -> None:
    """N(0, 0.02²) weights, zero biases; batch norm's scale from N(1, 0.02²) (Radford et al. 2016, §4)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            if layer.weight.requires_grad and not hasattr(layer, "parametrizations"):
                nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, NORMS) and layer.weight is not None:  # as of the norm in a conditional one
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def doubling(before: int, after: int, upsample: str, bias: bool = True) -> list[nn.Module]:
    """Layers (N, before, H, W) → (N, after, 2H, 2W).

    ``upsample`` is "transposed", a 4×4 convolution with stride ½ as in the paper, or "nearest": each pixel
    four times, then a 3×3 convolution. Of a constant plane the second makes a constant plane, where the first
    can make a chessboard (Odena, Dumoulin & Olah 2016, "Deconvolution and checkerboard artifacts"). "shuffle"
    is a 3×3 convolution to four times the features, which become the four pixels (Shi et al. 2016, §3.2).
    """
    if upsample == "shuffle":
        return [nn.Conv2d(before, 4 * after, 3, padding=1, bias=bias), nn.PixelShuffle(2)]
    if upsample == "nearest":
        return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1, bias=bias)]
    return [nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=bias)]


class Generator(nn.Module):
    """z (N, Z) → image (N, C, H, W) in [−1, 1]; ``image_size`` is H = W, or (H, W).

    With ``classes`` K the input is (N, Z + K): its last numbers are the class y, which batch norm sees.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 64,
        latent_dim: int = 100,
        norm: str = "batch",
        norm_decay: float = 0.9,
        upsample: str = "transposed",
        classes: int = 0,
    ):
        super().__init__()
        self.latent_dim = latent_dim
        k_h, k_w, levels = first_plane(image_size)
        sizes = filters(width, levels)
        plain = norm == "none"  # a bias only where no normalisation would remove it
        layers: list[nn.Module] = [FromLatent(latent_dim, sizes[0], (k_h, k_w), bias=plain)]
        layers += norm_and_activation(norm, sizes[0], 0.0, norm_decay, classes)
        for before, after in zip(sizes, sizes[1:]):
            layers += doubling(before, after, upsample, bias=plain)
            layers += norm_and_activation(norm, after, 0.0, norm_decay, classes)
        layers += [*doubling(sizes[-1], channels, upsample), nn.Tanh()]
        self.layers = ConditionedSequential(*layers)
        initialise(self)

    def forward(self, z: Tensor) -> Tensor:
        z, y = z[:, : self.latent_dim], z[:, self.latent_dim :]
        return self.layers(z[:, :, None, None], y)  # (N, Z, 1, 1) → (N, C, H, W)


class Discriminator(LinearScore):
    """image (N, C, H, W) → Output: score (N,), features (N, F), F = k_h·k_w times the filters at k_h×k_w.

    ``norm`` is batch, virtual or instance (not in the first layer), spectral (every layer; Miyato et al.
    2018), weight (every convolution; Salimans & Kingma 2016) or none. Gaussian ``noise`` comes before each
    convolution, and ``dropout`` of whole feature maps before each but the first; both are after the
    classifiers of Salimans et al. 2016, whose own places are in improved.py. With minibatch discrimination
    the score also depends on how similar the other samples of the batch are; the features do not.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 64,
        norm: str = "batch",
        norm_decay: float = 0.9,
        minibatch_discrimination: bool = False,
        noise: float = 0.0,
        dropout: float = 0.0,
    ):
        super().__init__()

        def convolution(before: int, after: int, bias: bool) -> nn.Module:
            if norm == "weight":
                return WeightNormConv2d(before, after, 4, stride=2, padding=1)
            return nn.Conv2d(before, after, 4, stride=2, padding=1, bias=bias)

        k_h, k_w, levels = first_plane(image_size)
        sizes = [channels, *reversed(filters(width, levels))]
        layers: list[nn.Module] = []
        for k, (before, after) in enumerate(zip(sizes, sizes[1:])):
            layers += [GaussianNoise(noise)] if noise else []
            layers += [SpatialDropout(dropout)] if dropout and k > 0 else []
            layers.append(convolution(before, after, bias=k == 0 or norm in ("spectral", "none")))
            layers += norm_and_activation(norm if k > 0 else "none", after, 0.2, norm_decay)
        self.trunk = nn.Sequential(*layers)
        self.score_features(k_h * k_w * sizes[-1], kernels=100 * minibatch_discrimination)
        initialise(self)
        if norm == "spectral":
            normalise_spectrally(self)
