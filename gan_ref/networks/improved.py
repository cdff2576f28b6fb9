"""The networks of "Improved techniques for training GANs" (Salimans et al. 2016); last, the D for ImageNet.

The D of the semi-supervised ones classifies. It has K logits l, and the logit of a (K+1)-th class "fake" is
fixed at 0. So D(x) = Z/(Z + 1) with Z = Σ exp lₖ, and its score, the log odds that x is real, is log Z (§5).
In place of batch norm there are noise or dropout between its layers and weight normalisation set from a first
batch, so a sample's logits depend on it alone.

Sizes, noise and order of the layers are those of the authors' code. Otherwise there:
- z is uniform on [0, 1], and G's batch norm has no factor;
- the convolutional G ends in a weight-normalised deconvolution (here a plain one);
- the class layer of the convolutional D is set for outputs of σ = 0.1 (here of 1);
- the weights of D for digits begin at σ = 0.1 (here at 0.05);
- the scales of minibatch discrimination are set from data (here they begin at 1).
"""

import math

from torch import Tensor, nn

from gan_ref.layers import (
    Dropout,
    GaussianNoise,
    MinibatchDiscrimination,
    WeightNormConv2d,
    WeightNormLinear,
    batch_norm,
)
from gan_ref.networks.dcgan import filters, initialise, norm_and_activation, normalise_spectrally
from gan_ref.networks.output import LinearScore, Output
from gan_ref.shapes import ImageSize, first_plane, sides


def classify(logits: Tensor, features: Tensor) -> Output:
    """logits (N, K), features (N, F) → Output with score log Z, (N,)."""
    return Output(logits.logsumexp(dim=1), features, logits)


# ---------------------------------------------------------------- digits: fully connected


class DenseGenerator(nn.Module):
    """z (N, Z) → two layers of ``width`` softplus units with batch norm → image (N, C, H, W) in [−1, 1]."""

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 500,
        latent_dim: int = 100,
        norm_decay: float = 0.9,
    ):
        super().__init__()
        self.shape = (channels, *sides(image_size))
        layers: list[nn.Module] = []
        for inputs in (latent_dim, width):
            norm = nn.BatchNorm1d(width, momentum=1 - norm_decay)
            layers += [nn.Linear(inputs, width, bias=False), norm, nn.Softplus()]
        self.layers = nn.Sequential(*layers, WeightNormLinear(width, math.prod(self.shape)), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(z).view(-1, *self.shape)


class DenseDiscriminator(nn.Module):
    """image (N, C, H, W) → Output with K logits, through 1000, 500, 250, 250 and 250 units (``width`` first).

    Gaussian noise of σ = 0.3 on pixels in [0, 1] and of 0.5 before each later layer.
    """

    separate = True

    def __init__(self, image_size: ImageSize, channels: int, num_classes: int, width: int = 1000):
        super().__init__()
        sizes = [channels * math.prod(sides(image_size)), width, width // 2, *[width // 4] * 3]
        layers: list[nn.Module] = []
        for k, (before, after) in enumerate(zip(sizes, sizes[1:])):
            noise = GaussianNoise(0.3 if k == 0 else 0.5)
            layers += [noise, WeightNormLinear(before, after, train_scale=False), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.class_layer = nn.Sequential(GaussianNoise(0.5), WeightNormLinear(sizes[-1], num_classes))

    def forward(self, x: Tensor) -> Output:
        features = self.trunk((x.flatten(1) + 1) / 2)  # (N, 250)
        return classify(self.class_layer(features), features)


# ---------------------------------------------------------------- photographs: convolutional


class ConvGenerator(nn.Module):
    """z (N, Z) → (F, k_h, k_w) → 5×5 fractionally strided convolutions → image (N, C, H, W) in [−1, 1].

    ``width`` 128 at 32×32: 512, 256, 128 filters, at 4×4, 8×8 and 16×16.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 128,
        latent_dim: int = 100,
        norm_decay: float = 0.9,
    ):
        super().__init__()
        k_h, k_w, levels = first_plane(image_size)
        sizes = filters(width, levels)
        self.first = nn.Sequential(
            nn.Linear(latent_dim, sizes[0] * k_h * k_w, bias=False), nn.Unflatten(1, (sizes[0], k_h, k_w)),
            batch_norm(sizes[0], norm_decay), nn.ReLU(),
        )  # fmt: skip
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:]):
            up = nn.ConvTranspose2d(before, after, 5, stride=2, padding=2, output_padding=1, bias=False)
            layers += [up, batch_norm(after, norm_decay), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(sizes[-1], channels, 5, stride=2, padding=2, output_padding=1))
        self.layers = nn.Sequential(*layers, nn.Tanh())
        for layer in self.modules():
            if isinstance(layer, (nn.Linear, nn.ConvTranspose2d)):
                nn.init.normal_(layer.weight, 0.0, 0.05)

    def forward(self, z: Tensor) -> Tensor:
        return self.layers(self.first(z))


class ConvDiscriminator(nn.Module):
    """image (N, C, H, W) → Output with K class logits, features (N, 2·width): nine convolutions and a mean.

    ``width`` 96: three layers of 96 filters and three of 192, the last of each three with stride 2, then 3×3,
    1×1 and 1×1 of 192, averaged over the plane. Dropout of 0.2 on pixels and 0.5 after each stride.

    With minibatch discrimination its 100 similarities stand before the class layer, and pixels get noise of
    σ = 0.2 instead of dropout (the authors' second script). A sample's logits then depend on its batch.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int = 96, minibatch_discrimination: bool = False
    ):
        super().__init__()
        self.separate = not minibatch_discrimination
        layers: list[nn.Module] = [GaussianNoise(0.2) if minibatch_discrimination else Dropout(0.2)]
        before = channels
        for after in (width, 2 * width):
            for stride in (1, 1, 2):
                conv = WeightNormConv2d(before, after, 3, stride, 1, train_scale=False)
                layers += [conv, nn.LeakyReLU(0.2)]
                before = after
            layers.append(Dropout(0.5))
        for kernel in (3, 1, 1):
            layers += [WeightNormConv2d(before, before, kernel, train_scale=False), nn.LeakyReLU(0.2)]
        self.trunk = nn.Sequential(*layers)
        similarity = MinibatchDiscrimination(before) if minibatch_discrimination else None
        self.similarity = similarity or nn.Identity()
        self.class_layer = WeightNormLinear(similarity.out_features if similarity else before, num_classes)

    def forward(self, x: Tensor) -> Output:
        features = self.trunk(x).mean(dim=(2, 3))
        return classify(self.class_layer(self.similarity(features)), features)


# ---------------------------------------------------------------- ImageNet


class ImageNetDiscriminator(LinearScore):
    """image (N, C, H, W) → Output: score (N,), features (N, 40·width), through 3×3 convolutions.

    At 128×128 and ``width`` 64 the layers are those of the authors' code: noise of σ = 0.1 on pixels; 64, 128
    and 256 filters with stride 2, 256 twice with stride 1, 512 twice with stride 2; 2,560 units; similarities
    by 300 kernels of 50 numbers. At smaller sizes the last strides are left out. Their norm takes the
    statistics of half of the channels from reals and of the others from fakes, and ours has the usual ones.
    Their D also guesses the class. ``norm`` is as in dcgan.Discriminator.
    """

    def __init__(
        self,
        image_size: ImageSize,
        channels: int,
        width: int = 64,
        norm: str = "batch",
        norm_decay: float = 0.9,
        minibatch_discrimination: bool = True,
    ):
        super().__init__()
        convolution = WeightNormConv2d if norm == "weight" else nn.Conv2d
        k_h, k_w, doublings = first_plane(image_size)
        sizes = [channels, *reversed(filters(width, doublings))]
        layers: list[nn.Module] = [GaussianNoise(0.1)]
        for k, (before, after) in enumerate(zip(sizes, sizes[1:])):
            for stride in (2, 1, 1) if k == 2 else (2,):
                layers.append(convolution(before, after, 3, stride, 1))
                layers += norm_and_activation(norm, after, 0.2, norm_decay)
                before = after
        features = 40 * width
        layers.append(nn.Conv2d(sizes[-1], features, (k_h, k_w)))  # of the whole plane
        layers += norm_and_activation("none" if norm == "instance" else norm, features, 0.2, norm_decay)
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.score_features(features, 300 * minibatch_discrimination, kernel_dim=50)
        initialise(self)
        if norm == "spectral":
            normalise_spectrally(self)
