"""`python -m gan_ref.sample CHECKPOINT --out grid.png`: samples, on one page or a file each."""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref import imaging
from gan_ref.checkpoint import load_generator
from gan_ref.data.mixtures import MIXTURES
from gan_ref.errors import Parser, UserError, command
from gan_ref.imaging import SCATTER

GAP = 2  # pixels between the pictures on a page
MAX_SIDE = 8192  # pixels of a page


def latents(seed: int, latent_dim: int, count: int, block: int = 1024) -> Iterator[Tensor]:
    """z_0, z_1, … ~ N(0, I) in blocks (≤ block, latent_dim). z_i depends on the seed and i alone.

    Each z is drawn by itself: `torch.randn(count, latent_dim)` would give other numbers for another count.
    """
    generator = torch.Generator().manual_seed(seed)
    for first in range(0, count, block):
        n = min(block, count - first)
        yield torch.stack([torch.randn(latent_dim, generator=generator) for _ in range(n)])


def images(generator: Any, count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Samples 0 … count − 1 of a seed, one uint8 (H, W, C) at a time; any count begins with the same ones."""
    z = latents(seed, generator.config.latent_dim, count)
    batch = imaging.forward_batch(generator.shape[-1])
    return itertools.chain.from_iterable(imaging.generate(generator.module, z, batch))


def page(
    generator: Any, count: int = 64, seed: int = 0, columns: int | None = None, scale: int = 1
) -> np.ndarray:
    """Samples read from left to right and top to bottom; a generator of points gives one scatter plot."""
    config = generator.config
    if config.data in MIXTURES:
        z = latents(seed, config.latent_dim, count)
        points = torch.cat([x.cpu() for x in imaging.forward(generator.module, z)])
        return imaging.upscale(imaging.scatter(points.numpy()[None], MIXTURES[config.data][0]), scale)
    columns = columns or math.ceil(math.sqrt(count))
    samples = np.stack(list(images(generator, count, seed)))
    return imaging.grid(imaging.upscale(samples, scale), math.ceil(count / columns), columns, GAP)


def write(
    generator: Any,
    out: str | os.PathLike[str] | None = None,
    count: int = 64,
    seed: int = 0,
    columns: int | None = None,
    each: str | os.PathLike[str] | None = None,
    scale: int = 1,
) -> str:
    """Write the page `out`, or every sample as `each`/000000.png …, or both, and say what was written.

    `generator` is what `checkpoint.load_generator` returns. Raises UserError for values that make no picture.
    """
    points = generator.config.data in MIXTURES
    largest = SCATTER if points else max(generator.shape[1:])
    if out is None and each is None:
        raise UserError("nothing to write: give --out grid.png, or --each FOLDER, or both")
    imaging.check("--count", count, 1, 1_000_000)
    imaging.check("--seed", seed, 0, 2**63 - 1)
    imaging.check("--scale", scale, 1, 256)
    if columns is not None:
        imaging.check("--columns", columns, 1, count)
    if out is not None:
        out = imaging.check_output(out, (".png",))
        across = columns or math.ceil(math.sqrt(count))
        cells = 1 if points else max(across, math.ceil(count / across))
        if cells * (largest * scale + GAP) > MAX_SIDE:
            raise UserError(f"{count} samples make a page longer than {MAX_SIDE} pixels: "
                            "lower --count or --scale, or write single files with --each FOLDER")  # fmt: skip
    if each is not None:
        if points:
            raise UserError("--each writes images, and this generator makes points: use --out")
        if largest * scale > MAX_SIDE:
            raise UserError(f"--scale {scale} makes pictures of more than {MAX_SIDE} pixels a side")
        each = imaging.check_output(Path(each) / "000000.png", (".png",)).parent

    said = []
    if each is not None:
        bar = tqdm(images(generator, count, seed), total=count, desc="sample", disable=None, leave=False)
        for i, image in enumerate(bar):
            imaging.write_png(each / f"{i:06d}.png", imaging.upscale(image, scale))
        said.append(f"{each}: {count} pictures, 000000.png to {count - 1:06d}.png")
    if out is not None:
        picture = page(generator, count, seed, columns, scale)
        imaging.write_png(out, picture)
        said.append(f"{out}: {count} samples on a page of {picture.shape[1]}x{picture.shape[0]}")
    return "\n".join(said)


def arguments() -> Parser:
    description = "Pictures from a trained generator, on one page or a file each."
    parser = Parser(prog="python -m gan_ref.sample", description=description)
    add = parser.add_argument
    add("checkpoint", help="a checkpoint.pt or a run folder")
    add("--out", metavar="FILE", help="a .png with all samples on one page")
    add("--each", metavar="FOLDER", help="a folder for single files, 000000.png and on")
    add("--count", type=int, default=64, metavar="N", help="how many; a larger count begins the same [64]")
    add("--seed", type=int, default=0, metavar="N", help="same checkpoint, same seed, same samples [0]")
    add("--columns", type=int, metavar="K", help="of the page [as many as rows]")
    add("--scale", type=int, default=1, metavar="K", help="enlarge every pixel to KxK equal ones [1]")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the generator runs [auto]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(argv)
    generator = load_generator(given.checkpoint, imaging.choose_device(given.device))
    print(write(generator, given.out, given.count, given.seed, given.columns, given.each, given.scale))


if __name__ == "__main__":
    sys.exit(main())
