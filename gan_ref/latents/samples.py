"""From z to samples: how G is called wherever its samples are seen, counted or saved."""

import copy
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gan_ref.latents.classes import classes_in_turn, with_class
from gan_ref.latents.numbers import numbered_z
from gan_ref.pictures.pages import to_uint8


class FinishedGenerator(Protocol):
    """A trained generator, as far as its samples ask for it: see checkpoint.LoadedGenerator."""

    module: nn.Module  # z (N, latent_dim) → (N, *shape); with K classes, (N, latent_dim + K)
    config: Any  # the run's Config, every setting chosen
    shape: tuple[int, ...]  # (C, H, W), or (2,) for points
    classes: tuple[str, ...]  # those that it can be asked for


def forward_batch(image_size: int) -> int:
    """How many images one forward pass makes: 64 up to 32×32, 32 at 64×64, 16 above.

    On two CPU cores larger batches gain nothing (benchmarks/walk.py).
    """
    return min(64, max(16, 2048 // image_size))


def forward(module: nn.Module, z: Iterable[Tensor], batch: int = 64) -> Iterator[Tensor]:
    """G(z) for a stream of z in pieces of any length (n, latent_dim) → a stream of (≤ batch, …), in order.

    A convolution library picks its algorithm by the shape of the batch, and two algorithms differ in the last
    bits. So every pass here has exactly ``batch`` rows, the last one padded: a sample depends on its z alone.
    """
    # A copy, because the caller's network may still be in training. Channels-last is the faster layout.
    module = copy.deepcopy(module).eval()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    device = next(module.parameters()).device
    rows = itertools.chain.from_iterable(z)
    while now := list(itertools.islice(rows, batch)):
        padded = torch.stack(now + [now[-1]] * (batch - len(now)))
        with torch.inference_mode():
            x = module(padded.to(device))
        yield x[: len(now)]


def generate(module: nn.Module, z: Iterable[Tensor], batch: int = 64) -> Iterator[np.ndarray]:
    """``forward`` as pictures: a stream of uint8 (≤ batch, H, W, C)."""
    return map(to_uint8, forward(module, z, batch))


def stream_samples(generator: FinishedGenerator, z: Iterable[Tensor]) -> Iterator[np.ndarray]:
    """The samples of a stream of z, one at a time: uint8 (H, W, C), or float32 (2,) for points.

    A conditional generator is given z with the class at its end: see classes.py.
    """
    for x in forward(generator.module, z, forward_batch(generator.shape[-1])):
        yield from to_uint8(x) if x.ndim == 4 else x.float().cpu().numpy()


def iterate_samples(
    generator: FinishedGenerator, numbers: Iterable[int], seed: int, labels: Iterable[int] | None = None
) -> Iterator[np.ndarray]:
    """The samples with these numbers of a seed, one at a time; their classes are in turn if not given."""
    latent_dim, classes = generator.config.latent_dim, len(generator.classes)
    numbers = list(numbers)
    asked = classes_in_turn(numbers if labels is None else labels, classes)
    z = (with_class(numbered_z(seed, (n,), latent_dim), y, classes) for n, y in zip(numbers, asked.split(1)))
    return stream_samples(generator, z)


def draw_samples(
    generator: FinishedGenerator, numbers: int | Iterable[int], seed: int, labels: Iterable[int] | None = None
) -> np.ndarray:
    """The samples with these numbers of a seed, or those from 0 to ``numbers`` − 1: uint8 (N, H, W, C), or
    float32 (N, 2) for points."""
    numbers = range(numbers) if isinstance(numbers, int) else numbers
    return np.stack(list(iterate_samples(generator, numbers, seed, labels)))
