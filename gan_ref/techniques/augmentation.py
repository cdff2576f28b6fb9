"""Augmentation of everything that D sees, through which G's gradient flows.

With few images D learns them by heart. If both reals and fakes are changed at random, D has more to learn,
and as G is judged through the same changes, its samples need not show any of them. All random numbers come
from the game's generator, and no Python number changes: a recorded round draws anew at each replay.
"""

import torch
from torch import Tensor, nn

from gan_ref import distributed

POLICY = ("colour", "translation", "cutout")
DRAWS = 10  # uniform numbers for each image: who is changed by each of three, and how


class DiffAugment(nn.Module):
    """Colour, translation and cutout, each with probability p (Zhao et al. 2020, "Differentiable augmentation
    for data-efficient GAN training", §3 and their code; p = 1 there).

    Colour adds b ~ U[−½, ½) to each pixel, then multiplies its distance from its gray by U[0, 2), and from
    the image's mean by U[½, 3/2). Translation moves up to an eighth of each side, and 0, the middle gray,
    comes in. Cutout lays a gray rectangle of half the sides about a random pixel. Each image has its own
    numbers. ``policy`` names those of the three that are wanted. ``forward`` takes images (N, C, H, W), or
    packs (N/m, m·C, H, W) of m = ``pack``, in [−1, 1].
    """

    changes_each_round = ""  # as for penalties

    def __init__(self, p: float = 1.0, policy: str = ",".join(POLICY)):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"p is a probability, not {p}")
        self.p: float | Tensor = p
        self.policy = [word.strip() for word in policy.split(",")]
        if unknown := [word for word in self.policy if word not in POLICY]:
            raise ValueError(f"policy names some of {', '.join(POLICY)}; not {unknown[0]!r}")

    def forward(self, x: Tensor, rng: torch.Generator | None, pack: int = 1) -> Tensor:
        numbers = torch.rand(distributed.whole((len(x), pack * DRAWS)), generator=rng, device=x.device)
        u = distributed.part(numbers).reshape(-1, DRAWS)
        images = x.reshape(len(u), -1, *x.shape[2:])
        changed = each(u[:, :3] < self.p)
        size = images.shape[2:]
        if "colour" in self.policy:
            b, s, c = each(u[:, 3:6])
            recoloured = contrast(saturate(images + (b - 0.5), 2 * s), c + 0.5)
            images = torch.where(changed[0], recoloured, images)
        if "translation" in self.policy:
            down, right = (integer(u[:, 6 + k], -eighth(n), eighth(n)) for k, n in enumerate(size))
            images = torch.where(changed[1], translate(images, down, right), images)
        if "cutout" in self.policy:
            middle = (integer(u[:, 8 + k], 0, n - half(n) % 2) for k, n in enumerate(size))
            images = torch.where(changed[2], cut_out(images, *middle), images)
        return images.reshape(x.shape)

    def follow(self, signs: Tensor) -> None:
        """Called after each round with sign s(x), (N,), of the reals that D saw: counted from the score above
        which D calls a sample real."""


class AdaptiveAugment(DiffAugment):
    """DiffAugment with the p that keeps D from knowing the reals (Karras et al. 2020, "Training generative
    adversarial networks with limited data", §3.2).

    r = E sign s(x) says how far D is ahead on the reals that it trains on: 1 if it knows all. After every 4
    rounds p ← p + sign(r − 0.6)·(images since the last time)/500,000, clipped to [0, 1]; p = 0 at first.
    """

    p: Tensor
    total: Tensor  # of the rounds since p has moved: the sum of r
    rounds: Tensor

    def __init__(
        self,
        target: float = 0.6,
        every: int = 4,
        images: int = 500_000,
        policy: str = ",".join(POLICY),
    ):
        super().__init__(0.0, policy)
        if min(every, images) < 1:
            raise ValueError("every and images are at least 1")
        self.target, self.every, self.images = target, every, images
        del self.p
        for name in ("p", "total", "rounds"):
            self.register_buffer(name, torch.zeros(()))

    @torch.no_grad()
    def follow(self, signs: Tensor) -> None:
        self.total += signs.mean()
        self.rounds += 1
        due = self.rounds == self.every
        step = self.every * len(signs) / self.images
        self.p += due * step * torch.sign(self.total / self.every - self.target)
        self.p.clamp_(0, 1)
        self.total *= ~due
        self.rounds *= ~due


# ---------------------------------------------------------------- the changes, all linear but for brightness


def each(u: Tensor) -> Tensor:
    """Numbers for each image, (N, K) → (K, N, 1, 1, 1)."""
    return u.T[:, :, None, None, None]


def eighth(side: int) -> int:
    return int(side / 8 + 0.5)


def half(side: int) -> int:
    return int(side / 2 + 0.5)


def integer(u: Tensor, low: int, high: int) -> Tensor:
    """Uniform numbers in [0, 1) → uniform integers from ``low`` to ``high``."""
    return (low + (u * (high - low + 1)).long()).clamp(max=high)  # u·n may round up to n


def saturate(x: Tensor, factor: Tensor) -> Tensor:
    """Each pixel's distance from its gray, the mean of its channels, times ``factor``."""
    gray = x.mean(1, keepdim=True)
    return gray + factor * (x - gray)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Each number's distance from the image's mean times ``factor``."""
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + factor * (x - mean)


def translate(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Images (N, C, H, W) moved by whole pixels, (N,) each way; 0 comes in."""
    height, width = x.shape[2:]
    row = torch.arange(height, device=x.device) - down[:, None]  # where each row comes from, (N, H)
    column = torch.arange(width, device=x.device) - right[:, None]
    inside = within(row, 0, height)[:, :, None] & within(column, 0, width)[:, None]
    source = row.clamp(0, height - 1)[:, :, None] * width + column.clamp(0, width - 1)[:, None]
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H·W, C)
    moved = pixels.gather(1, source.flatten(1)[:, :, None].expand_as(pixels))
    return torch.where(inside[:, None], moved.unflatten(1, (height, width)).permute(0, 3, 1, 2), 0)


def cut_out(x: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Images with 0 in a rectangle of half their sides about the pixels (row, column), (N,) each."""
    rows, columns = (
        within(torch.arange(n, device=x.device), first[:, None], half(n))
        for n, first in ((n, at - half(n) // 2) for n, at in zip(x.shape[2:], (row, column)))
    )
    return torch.where((rows[:, :, None] & columns[:, None])[:, None], 0, x)


def within(place: Tensor, first: Tensor | int, length: int) -> Tensor:
    return (place >= first) & (place < first + length)
