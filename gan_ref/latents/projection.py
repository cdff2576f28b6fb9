"""From a picture to its z: the z whose sample is nearest to it."""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import FinishedGenerator, forward_batch
from gan_ref.pictures.pages import to_uint8
from gan_ref.seeds import mix_seed

CANDIDATES = 256  # random z, of which the nearest ones to a picture are where its search starts
RATE = 0.2  # of Adam, falling to 0 along half a cosine


class Projection(NamedTuple):
    z: Tensor  # (N, Z) float32
    images: np.ndarray  # G(z), uint8 (N, H, W, C)
    errors: np.ndarray  # root mean square difference to the pictures, pixels in [0, 1], (N,)
    nearest: np.ndarray  # the same for the nearest of the random z, (N,): what the search improved on


def project(
    generator: FinishedGenerator,
    discriminator: nn.Module | None,
    pictures: np.ndarray,
    starts: int = 4,
    steps: int = 200,
    seed: int = 0,
) -> Projection:
    """Look for the z of each picture, uint8 (N, H, W, C), by descent from several starts.

        L(z) = ‖G(z) − x‖² / E‖G − E G‖² + ‖f(G(z)) − f(x)‖² / E‖f(G) − E f(G)‖²

    f are D's features (of its last hidden layer), which see what pixels do not; without a D there is the
    first term alone. The expectations make both terms about 2 for two unrelated samples. Adam goes from the
    ``starts`` nearest of 256 random z to the least L (after Zhu et al. 2016, §3.1, and inference via
    optimization, Metz et al. 2017, §3.4.1). z stays within √Z + 3 of the origin, since N(0, I) has its norms
    within √Z ± 3.
    """
    batch = forward_batch(max(generator.shape[1:]))
    device = next(generator.module.parameters()).device
    tried = numbered_z(mix_seed(seed, "projection"), range(CANDIDATES), generator.config.latent_dim)
    tried = tried.to(device)

    def look(x: Tensor) -> list[Tensor]:
        """x (n, C, H, W) as pixels (n, C·H·W) and as D's features (n, F)."""
        seen = [x] if discriminator is None else [x, discriminator(x).features]
        return [y.flatten(1).float() for y in seen]

    def together(looks: Iterable[list[Tensor]]) -> list[Tensor]:
        return [torch.cat(parts) for parts in zip(*looks)]

    with torch.no_grad():
        seen = together(look(generator.module(z)) for z in tried.split(batch))
        x = torch.tensor(pictures, device=device).permute(0, 3, 1, 2)
        goals = together(look(part / 127.5 - 1) for part in x.split(batch))
        spreads = [y.var(dim=0, correction=0).sum().clamp(min=1e-12) for y in seen]
        gaps = [torch.cdist(goal, y) for goal, y in zip(goals, seen)]  # (N, CANDIDATES) each
        costs = torch.stack([gap.square() / s for gap, s in zip(gaps, spreads)]).sum(dim=0)
        first = tried[costs.topk(starts, largest=False).indices.flatten()]  # (N·starts, Z)
        nearest = gaps[0].amin(dim=1) / math.sqrt(goals[0].shape[1]) / 2  # pixels in [−1, 1] to [0, 1]

    def cost(z: Tensor, rows: Tensor) -> Tensor:
        looks = zip(look(generator.module(z)), goals, spreads)
        return torch.stack([(y - goal[rows]).square().sum(dim=1) / s for y, goal, s in looks]).sum(dim=0)

    found, losses = [], []
    rows = torch.arange(len(pictures), device=device).repeat_interleave(starts)
    pieces = list(zip(first.split(batch), rows.split(batch)))
    for z, some in tqdm(pieces, "projecting", unit="batch", disable=None, leave=False):
        for kept, result in zip((found, losses), descend(z, lambda z: cost(z, some), steps)):
            kept.append(result)
    chosen = torch.cat(losses).view(-1, starts).argmin(dim=1)
    z = torch.cat(found).unflatten(0, (-1, starts))[torch.arange(len(chosen), device=device), chosen]
    with torch.no_grad():
        images = np.concatenate([to_uint8(generator.module(part)) for part in z.split(batch)])
    return Projection(z.cpu(), images, rms(images, pictures), nearest.cpu().numpy())


def descend(z: Tensor, cost: Callable[[Tensor], Tensor], steps: int) -> tuple[Tensor, Tensor]:
    """Adam from z (n, Z) on ``cost``, z ↦ (n,): each row's z of least cost on its way, and that cost."""
    most = math.sqrt(z.shape[1]) + 3
    z = z.clone().requires_grad_()
    found, least = z.detach().clone(), torch.full((len(z),), math.inf, device=z.device)
    optimizer = torch.optim.Adam([z], lr=RATE)
    for step in range(steps + 1):
        values = cost(z)
        better = values.detach() < least
        least = torch.where(better, values.detach(), least)
        found = torch.where(better[:, None], z.detach(), found)
        optimizer.param_groups[0]["lr"] = RATE * (1 + math.cos(math.pi * step / max(1, steps))) / 2
        optimizer.zero_grad()
        values.sum().backward()
        optimizer.step()
        with torch.no_grad():
            z *= (most / z.norm(dim=1, keepdim=True)).clamp(max=1)
    return found, least


def rms(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Root mean square difference of each pair of images uint8 (N, H, W, C), pixels in [0, 1]: (N,)."""
    return np.sqrt(np.square((a.astype(np.float64) - b) / 255).mean(axis=(1, 2, 3)))
