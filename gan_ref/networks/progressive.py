"""The networks that grow (Karras et al. 2018, "Progressive growing of GANs", §2 and appendix A).

G and D have a block for each size from the first plane up to the image, and layers at each size that make an
image of features, or features of an image. Both are built whole. Their ``level`` says how much of them runs:
at level 1.3 of an image of 32×32, the blocks of 4×4 and of 8×8 and, faded in by α = 0.3, that of 16×16 do. It
is a number that whoever plays or draws sets, and no part of the weights. Images keep their full size at each
level, as in the authors' code: those of a lower level are enlarged by repetition of pixels.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.layers import EqualisedConv2d, EqualisedLinear, MinibatchDeviation, PixelNorm, flatten
from gan_ref.networks.dcgan import filters
from gan_ref.networks.output import Output
from gan_ref.shapes import ImageSize, first_plane


def newest(level: float) -> tuple[int, float]:
    """(k, α) of a level: block k is the last that runs, and it is faded in by α.

    >>> newest(0.0), newest(1.0), newest(1.25)
    ((0, 1.0), (1, 1.0), (2, 0.25))
    """
    k = math.ceil(level)
    return k, 1.0 + level - k


def enlarge(x: Tensor, times: int = 2) -> Tensor:
    """(N, C, H, W) → (N, C, times·H, times·W), each pixel repeated."""
    return x if times == 1 else F.interpolate(x, scale_factor=times, mode="nearest")


def shrink(x: Tensor, times: int = 2) -> Tensor:
    """(N, C, H, W) → (N, C, H/times, W/times), each pixel the mean of those in its place."""
    return x if times == 1 else F.avg_pool2d(x, times)


def fade(x: Tensor, network: nn.Module) -> Tensor:
    """Reals (N, C, H, W) as sharp as the fakes at the level of this network, and as large as before.

    While block k is faded in, they are (1 − α)·x_{k−1} + α·x_k, with x_k the image at the size of block k. At
    the full size, and for a network without levels, they are x.
    """
    level, doublings = next(((part.level, part.doublings) for part in growing([network])), (0.0, 0))
    k, alpha = newest(level)
    times = 2 ** (doublings - k)
    x = shrink(x, times)
    if alpha < 1:
        x = torch.lerp(enlarge(shrink(x)), x, alpha)
    return enlarge(x, times)


def rectifier() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def convolution(before: int, after: int, kernel: int = 3) -> list[nn.Module]:
    return [EqualisedConv2d(before, after, kernel), rectifier()]


class Generator(nn.Module):
    """z (N, Z) → image (N, C, H, W), of which only a lower size may be drawn: see ``level``.

    Each block after the first doubles the plane by repetition of pixels and convolves twice, with pixel norm
    after each rectifier, and for z itself. The image is linear, and clipped to [−1, 1] when it is shown.
    ``width`` is the filters at the full size; they double at each lower size, to at most 8·width. (The paper
    has 512 up to 32×32, and half as many at each doubling from there on.)
    """

    def __init__(self, image_size: ImageSize, channels: int, width: int = 64, latent_dim: int = 512):
        super().__init__()
        k_h, k_w, self.doublings = first_plane(image_size)
        self.level = float(self.doublings)
        sizes = filters(width, self.doublings + 1)
        # The gain of the first layer is a quarter of He's, as in the authors' code.
        first = EqualisedLinear(latent_dim, sizes[0] * k_h * k_w, gain=math.sqrt(2) / 4)
        plane: list[nn.Module] = [nn.Unflatten(1, (sizes[0], k_h, k_w)), rectifier(), PixelNorm()]
        blocks = [nn.Sequential(PixelNorm(), first, *plane, *convolution(sizes[0], sizes[0]), PixelNorm())]
        for before, after in zip(sizes, sizes[1:]):
            layers = [*convolution(before, after), PixelNorm(), *convolution(after, after), PixelNorm()]
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self.to_image = nn.ModuleList(EqualisedConv2d(size, channels, 1, gain=1.0) for size in sizes)

    def forward(self, z: Tensor) -> Tensor:
        k, alpha = newest(self.level)
        x = before = self.blocks[0](z)  # (N, F, k_h, k_w)
        for block in self.blocks[1 : k + 1]:
            before = x
            x = block(enlarge(x))  # (N, F, h, w) → (N, F', 2h, 2w)
        image = self.to_image[k](x)
        if alpha < 1:
            image = torch.lerp(enlarge(self.to_image[k - 1](before)), image, alpha)
        return enlarge(image, 2 ** (self.doublings - k))


class Discriminator(nn.Module):
    """image (N, C, H, W) → Output: score (N,), features (N, F). What is finer than its ``level`` it does not
    see.

    Each block but the last convolves twice and halves the plane by the mean of 2×2 pixels. The last one, at
    the first plane, appends the deviation within groups of the batch. ``width`` is as for G.
    """

    def __init__(self, image_size: ImageSize, channels: int, width: int = 64):
        super().__init__()
        k_h, k_w, self.doublings = first_plane(image_size)
        self.level = float(self.doublings)
        sizes = filters(width, self.doublings + 1)
        first = sizes[0]
        self.from_image = nn.ModuleList(nn.Sequential(*convolution(channels, size, 1)) for size in sizes)
        self.last = nn.Sequential(MinibatchDeviation(), *convolution(first + 1, first))
        self.blocks = nn.ModuleList(
            nn.Sequential(*convolution(size, size), *convolution(size, smaller))
            for smaller, size in zip(sizes, sizes[1:])
        )
        self.dense = nn.Sequential(EqualisedLinear(first * k_h * k_w, first), rectifier())
        self.score, self.out_features = EqualisedLinear(first, 1, gain=1.0), first

    def forward(self, x: Tensor) -> Output:
        k, alpha = newest(self.level)
        image = shrink(x, 2 ** (self.doublings - k))
        x = self.from_image[k](image)
        for j in range(k, 0, -1):
            x = shrink(self.blocks[j - 1](x))  # (N, F, 2h, 2w) → (N, F', h, w)
            if j == k and alpha < 1:
                x = torch.lerp(self.from_image[k - 1](shrink(image)), x, alpha)
        features = self.dense(flatten(self.last(x)))
        return Output(self.score(features).squeeze(1), features)


def growing(networks: Iterable[nn.Module]) -> list[Generator | Discriminator]:
    """What of these networks has a level: they themselves, what they wrap, or nothing."""
    parts = (part for whole in networks for part in whole.modules())
    return [part for part in parts if isinstance(part, (Generator, Discriminator))]
