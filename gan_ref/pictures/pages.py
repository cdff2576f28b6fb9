"""From a batch of images to a page of them. A picture is a uint8 array (H, W, C) with C = 1 or 3."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan_ref.files import write_atomically

LABEL = 12  # pixels under a picture for its number


def to_uint8(x: Tensor) -> np.ndarray:
    """x (N, C, H, W) in [−1, 1] → uint8 (N, H, W, C), the nearest level: round((x + 1) · 255/2)."""
    levels = ((x.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def grid(images: np.ndarray, rows: int, columns: int, gap: int = 0, fill: int = 255) -> np.ndarray:
    """images (N, H, W, C), N ≤ rows·columns, read like a page → (rows·H + (rows−1)·gap, columns·W + …, C).

    Cells without an image, and the gaps between cells, have the value ``fill``. Raises ValueError for more
    images than cells.
    """
    n, height, width, channels = images.shape
    if n > rows * columns:
        raise ValueError(f"images: {n} do not fit in {rows}x{columns} cells")
    cells = np.full((rows * columns, height + gap, width + gap, channels), fill, np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, height + gap, width + gap, channels)
    page = cells.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), channels)
    return page[: page.shape[0] - gap, : page.shape[1] - gap]


def upscale(images: np.ndarray, k: int) -> np.ndarray:
    """(…, H, W, C) → (…, k·H, k·W, C): every pixel becomes k×k equal pixels."""
    return images if k == 1 else images.repeat(k, axis=-3).repeat(k, axis=-2)


def label(images: np.ndarray, numbers: Iterable[int]) -> np.ndarray:
    """images (N, H, W, C) → (N, H + LABEL, W, C): under each stands its number."""
    strips = []
    for i in numbers:
        strip = Image.new("L", (images.shape[2], LABEL), 255)
        ImageDraw.Draw(strip).text((strip.width / 2, LABEL / 2), str(i), 60, ImageFont.load_default(10), "mm")
        strips.append(np.repeat(np.asarray(strip)[..., None], images.shape[3], axis=2))
    return np.concatenate([images, np.stack(strips)], axis=1)


def write_png(path: str | os.PathLike[str], picture: np.ndarray) -> None:
    """Write a picture, uint8 (H, W, C) with C = 1 or 3."""
    with write_atomically(path) as part:
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(part, format="PNG")
