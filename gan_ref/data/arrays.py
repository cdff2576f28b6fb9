"""Images that are already decoded: a .npy, or a .npz with labels, of uint8 (N, H, W, C) or (N, H, W)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gan_ref.data.cache import Rows, file_identity, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.decode import MAX_PIXELS, fit_arrays
from gan_ref.files import read_untrusted
from gan_ref.shapes import sides

LABELS = ("labels", "label", "y")
CHUNK = 256
MAX_BYTES = 4 << 30  # of all arrays in a .npz, which are read into memory


def npy_dataset(path: Path, options: Options) -> Dataset:
    """A .npy. One that has the size and channels asked for is memory-mapped where it lies, without a copy."""

    def load(path: Path) -> np.ndarray:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is a .npz; rename it")
        return as_images(array)

    images = read_untrusted(path, load, "a .npy of uint8 images")
    options = replace(options, channels=options.channels or (1 if images.shape[3] == 1 else 3))
    name = path.resolve().stem
    if images.shape[1:] == (*sides(options.image_size), options.channels):
        if images.flags.c_contiguous:
            return Dataset(name, images, flip=True)
    rows = lambda: fit_rows(images, None, options)
    return replace(open_or_build(name, [file_identity(path)], options, rows, len(images)), flip=True)


def npz_dataset(path: Path, options: Options) -> Dataset:
    """A .npz with one array of images under any name and, if it has any, integers under "labels" or "y"."""

    def load(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        with np.load(path, allow_pickle=False) as archive:
            if sum(member.file_size for member in archive.zip.infolist()) > MAX_BYTES:
                raise ValueError("it holds more than 4 GiB; save the images as a .npy, which needs no memory")
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
        found = [array for array in arrays.values() if array.ndim in (3, 4)]
        if len(found) != 1:
            raise ValueError(f"it must hold one array of images, (N, H, W[, C]), not {len(found)}")
        images = as_images(found[0])
        name = next((name for name in LABELS if name in arrays), None)
        if name is None:
            return images, None
        labels, count = arrays[name], len(images)
        if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iu":
            raise ValueError(f"{name!r} must be {count} integers, not {labels.dtype} of shape {labels.shape}")
        return images, labels.reshape(-1)

    def rows() -> Iterator[Rows]:
        images, labels = read_untrusted(path, load, "a .npz of uint8 images")
        channels = options.channels or (1 if images.shape[3] == 1 else 3)
        return fit_rows(images, labels, replace(options, channels=channels))

    opened = replace(open_or_build(path.resolve().stem, [file_identity(path)], options, rows), flip=True)
    if opened.labels is None:
        return opened
    values, labels = np.unique(opened.labels, return_inverse=True)
    return replace(opened, labels=labels, classes=tuple(str(value) for value in values))


def as_images(array: np.ndarray) -> np.ndarray:
    """A view (N, H, W, C) of the array; ValueError if it does not hold images."""
    if array.dtype != np.uint8:
        raise ValueError(f"it holds {array.dtype}, not uint8; save the images as uint8 from 0 to 255")
    images = array[..., None] if array.ndim == 3 else array
    if images.ndim != 4 or images.shape[3] not in (1, 3, 4) or not images.size:
        hint = "; move the channels last" if images.ndim == 4 and images.shape[1] in (1, 3) else ""
        raise ValueError(f"its shape is {array.shape}, not (N, H, W) or (N, H, W, 1, 3 or 4){hint}")
    if images.shape[1] * images.shape[2] > MAX_PIXELS:
        raise ValueError(f"its images have more than {MAX_PIXELS} pixels")
    return images


def fit_rows(
    images: np.ndarray, labels: np.ndarray | None, options: Options, pad: bool = False
) -> Iterator[Rows]:
    """Decoded images (N, H, W, 1, 3 or 4) and their labels (N,), resized a few at a time."""
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        samples = fit_arrays(images[part], options.image_size, options.channels or 3, pad)
        yield Rows(samples, {} if labels is None else {"labels": labels[part].astype(np.int64)})
