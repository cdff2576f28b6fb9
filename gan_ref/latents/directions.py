"""Directions of latent space along which the picture changes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gan_ref.latents.classes import classes_in_turn, with_class
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.paths import sweep
from gan_ref.latents.samples import FinishedGenerator, forward, forward_batch

BASES = 8  # z that each direction is tried from


def change(generator: FinishedGenerator, directions: Tensor, seed: int, span: tuple[float, float]) -> Tensor:
    """How far samples move from one end of a sweep to the other, for each direction d of (R, Z): (R,).

    It is the root mean square, over pixels and z number 0 to 7, of G(z with high along d) − G(z with low).
    """
    bases = numbered_z(seed, range(BASES), directions.shape[1])
    labels = classes_in_turn(range(BASES), len(generator.classes)).repeat_interleave(2)

    def ends() -> Iterator[Tensor]:
        for d in directions.split(1):
            z = sweep(bases, d, *span).flatten(0, 1)  # (BASES·2, Z), low and high in turn
            yield with_class(z, labels, len(generator.classes))

    samples = torch.cat(
        [x.float().cpu() for x in forward(generator.module, ends(), forward_batch(generator.shape[-1]))]
    )
    low, high = samples.flatten(1).unflatten(0, (len(directions), BASES, 2)).unbind(2)
    return (high - low).square().mean(dim=(1, 2)).sqrt()


def strongest_dimensions(
    generator: FinishedGenerator, count: int, seed: int, span: tuple[float, float]
) -> tuple[int, ...]:
    """The ``count`` coordinates of z that move the picture most, the strongest first."""
    moved = change(generator, torch.eye(generator.config.latent_dim), seed, span)
    return tuple(moved.topk(min(count, len(moved))).indices.tolist())
