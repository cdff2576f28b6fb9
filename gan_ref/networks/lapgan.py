"""The pyramid of networks (Denton, Chintala, Szlam & Fergus 2015, "LAPGAN", §2.2, §2.3 and §3.1).

I_0 is the smallest of K images of one sample, and I_{k−1} = d(I_k) halves the next. With u, which doubles an
image, the residual h_k = I_k − u(I_{k−1}) is what u and d lose, and I_k = u(I_{k−1}) + h_k. So a sample is
made from the smallest image up, with a G and a D of its own at each level:

    Ĩ_0 = G_0(z_0),   Ĩ_k = l + G_k(z_k, l),   l = u(I_{k−1}) in training, u(Ĩ_{k−1}) when samples are drawn.

In training l is of a real image, so that no gradient passes between levels. D_k judges I_k against Ĩ_k. The
game has K rows of each sample, its levels, and the mean of their losses trains all levels at once, and
separately.

The layers are the authors' for CIFAR-10. ``width`` 64 is theirs of the convolutions; G_0 and D_0, fully
connected, have 16 and 8 times as many units (the paper has 1,200 and 600). Their noise is a plane beside l.
Ours is a linear function of a part of z, so that z keeps its length.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gan_ref.config import Config
from gan_ref.layers import Dropout
from gan_ref.networks.output import Output
from gan_ref.networks.progressive import enlarge, shrink
from gan_ref.shapes import ImageSize, first_plane


def sizes(image_size: ImageSize) -> list[tuple[int, int]]:
    """(h, w) of each level.

    >>> sizes(32), sizes("96x64")
    ([(8, 8), (16, 16), (32, 32)], [(12, 8), (24, 16), (48, 32), (96, 64)])
    """
    k_h, k_w, doublings = first_plane(image_size)
    return [(k_h * 2**k, k_w * 2**k) for k in range(1, doublings + 1)]


def double(x: Tensor) -> Tensor:
    """u: (N, C, H, W) → (N, C, 2H, 2W), smooth."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def levels(config: Config, shape: tuple[int, ...]) -> int:
    """K, the rows of a batch that one sample of ``shape`` has: 1 if the networks are no pyramid."""
    return len(sizes(shape[1:])) if config.network == "lapgan" and len(shape) == 3 else 1


def pyramid(x: Tensor, levels: int) -> list[Tensor]:
    """Images I_0, …, I_{K−1} = x (N, C, H, W), each the half of the next by means of 2×2 pixels."""
    images = [x]
    while len(images) < levels:
        images.insert(0, shrink(images[0]))
    return images


def to_rows(images: Sequence[Tensor]) -> Tensor:
    """The images of N samples, level by level → (N·K, C, H, W): the K of a sample one after the other, all as
    large as the last by repetition of pixels.
    """
    side = images[-1].shape[-1]
    return torch.stack([enlarge(x, side // x.shape[-1]) for x in images], dim=1).flatten(0, 1)


def from_rows(x: Tensor, levels: int) -> list[Tensor]:
    """The images (N, C, h, w) of each level, from rows (N·K, C, H, W)."""
    of_level = x.unflatten(0, (-1, levels)).unbind(1)
    strides = [2**k for k in reversed(range(levels))]
    return [images[:, :, ::stride, ::stride] for images, stride in zip(of_level, strides)]


class Residual(nn.Module):
    """G_k: z_k (N, Z_k) and l (N, C, h, w) → h̃_k (N, C, h, w)."""

    def __init__(self, size: tuple[int, int], channels: int, width: int, latent_dim: int):
        super().__init__()
        self.noise = nn.Sequential(nn.Linear(latent_dim, size[0] * size[1]), nn.Unflatten(1, (1, *size)))
        self.layers = nn.Sequential(
            nn.Conv2d(channels + 1, width, 7, padding=3), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 7, padding=3), nn.ReLU(inplace=True),
            nn.Conv2d(width, channels, 5, padding=2),
        )  # fmt: skip

    def forward(self, z: Tensor, low: Tensor) -> Tensor:
        return self.layers(torch.cat([low, self.noise(z)], dim=1))


class Generator(nn.Module):
    """z (N, Z) → samples (N, C, H, W), linear and clipped to [−1, 1] when they are shown. With reals
    x (N, C, H, W) after z, (N, Z + C·H·W), → the fakes of all levels made from them, as rows (N·K, C, H, W).
    """

    def __init__(self, image_size: ImageSize, channels: int, width: int = 64, latent_dim: int = 300):
        super().__init__()
        first, *finer = sizes(image_size)
        self.latent_dim, self.levels = latent_dim, 1 + len(finer)
        self.shape = channels, *(finer or [first])[-1]
        share, rest = divmod(latent_dim, self.levels)
        parts = [share + (k < rest) for k in range(self.levels)]  # as tensor_split has them
        self.smallest = nn.Sequential(
            nn.Linear(parts[0], 16 * width), nn.ReLU(inplace=True),
            nn.Linear(16 * width, 16 * width), nn.ReLU(inplace=True),
            nn.Linear(16 * width, channels * first[0] * first[1]), nn.Unflatten(1, (channels, *first)),
        )  # fmt: skip
        residuals = (Residual(size, channels, width, part) for size, part in zip(finer, parts[1:]))
        self.residuals = nn.ModuleList(residuals)

    def forward(self, z: Tensor) -> Tensor:
        z, x = z[:, : self.latent_dim], z[:, self.latent_dim :]
        if x.shape[1]:
            return to_rows(self.images(z, pyramid(x.unflatten(1, self.shape), self.levels)))
        return self.images(z)[-1]

    def images(self, z: Tensor, real: Sequence[Tensor] = ()) -> list[Tensor]:
        """Ĩ_0, …, Ĩ_{K−1}, each made from the real image below it, or from the fake one if there are none."""
        z_0, *others = z.tensor_split(self.levels, dim=1)
        images = [self.smallest(z_0)]
        for k, (residual, z_k) in enumerate(zip(self.residuals, others)):
            low = double((real or images)[k])
            images.append(low + residual(z_k, low))
        return images


class Discriminator(nn.Module):
    """Rows (N·K, C, H, W) → Output: a score for each row by the D of its level, (N·K,).

    As the levels have nothing in common, the features (N·K, 1) are the scores.
    """

    def __init__(self, image_size: ImageSize, channels: int, width: int = 64):
        super().__init__()
        (h, w), *finer = sizes(image_size)
        judges: list[nn.Module] = [
            nn.Sequential(
                nn.Flatten(), nn.Linear(channels * h * w, 8 * width), nn.ReLU(inplace=True), Dropout(0.5),
                nn.Linear(8 * width, 8 * width), nn.ReLU(inplace=True), Dropout(0.5),
                nn.Linear(8 * width, 1),
            )
        ]  # fmt: skip
        for h, w in finer:
            inner = width * ((h - 7) // 2) * ((w - 7) // 2)  # without padding
            judges.append(
                nn.Sequential(
                    nn.Conv2d(channels, width, 5), nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 5, stride=2), nn.ReLU(inplace=True),
                    nn.Flatten(), Dropout(0.5), nn.Linear(inner, 1),
                )
            )  # fmt: skip
        self.judges = nn.ModuleList(judges)

    def forward(self, x: Tensor) -> Output:
        levels = from_rows(x, len(self.judges))
        scores = torch.cat([judge(images) for judge, images in zip(self.judges, levels)], dim=1)  # (N, K)
        return Output(scores.flatten(), scores.flatten()[:, None])
