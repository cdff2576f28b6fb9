"""From a batch of images to a page of them. A picture is a uint8 array (H, W, C) with C = 1 or 3."""

import functools
import os
from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gan_ref.files import write_atomically

LABEL = 12  # pixels under a picture for its number or another word


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


def upscale(images: np.ndarray, k: int, smooth: bool = False) -> np.ndarray:
    """(…, H, W, C) → (…, k·H, k·W, C): every pixel becomes k×k equal ones, or Lanczos interpolates."""
    if k == 1:
        return images
    if not smooth:
        return images.repeat(k, axis=-3).repeat(k, axis=-2)
    *outer, height, width, channels = images.shape
    planes = np.moveaxis(images, -1, -3).reshape(-1, height, width)  # Pillow filters one channel at a time
    size, filter = (k * width, k * height), Image.Resampling.LANCZOS
    big = np.stack([np.asarray(Image.fromarray(plane).resize(size, filter)) for plane in planes])
    return np.moveaxis(big.reshape(*outer, channels, k * height, k * width), -3, -1)


def label(images: np.ndarray, words: Iterable[object], height: int = LABEL) -> np.ndarray:
    """images (N, H, W, C) → (N, H + height, W, C): under each stands its number, or another short word."""
    strips = np.stack([_strip(str(word), height, images.shape[2]) for word in words])[..., None]
    return np.concatenate([images, strips.repeat(images.shape[3], axis=-1)], axis=1)


@functools.lru_cache(maxsize=4096)  # a movie's frames have the same few words
def _strip(word: str, height: int, width: int) -> np.ndarray:
    """The word in the middle of (height, width) pixels, without the letters at its end that find no room."""
    font = ImageFont.load_default(height * 10 // LABEL)
    while word and font.getlength(word) > width:
        word = word[:-1]
    strip = Image.new("L", (width, height), 255)
    ImageDraw.Draw(strip).text((width / 2, height / 2), word, 60, font, "mm")
    return np.asarray(strip)


def write_png(path: str | os.PathLike[str], picture: np.ndarray) -> None:
    """Write a picture, uint8 (H, W, C) with C = 1 or 3."""
    with write_atomically(path) as part:
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(part, format="PNG")
