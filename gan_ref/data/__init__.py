"""Where real samples come from: one name or path in, one Dataset out.

Nothing here imports torch until ``Batches`` is asked for: every decoding process imports this package.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from gan_ref.data.arrays import npy_dataset, npz_dataset
from gan_ref.data.cache import Rows, available_cores, cached, in_order
from gan_ref.data.cifar import cifar_dataset, holds_cifar
from gan_ref.data.dataset import IMAGE_SIZES, Dataset, check_image_size
from gan_ref.data.folder import folder_dataset
from gan_ref.data.mixtures import MIXTURES, mixture
from gan_ref.data.mnist import holds_mnist, mnist_dataset
from gan_ref.errors import UserError

__all__ = ["IMAGE_SIZES", "Batches", "Dataset", "check_image_size", "open_dataset"]

UNPACKED = ("MNIST/raw", "raw", "cifar-10-batches-bin", "cifar-10-batches-py")  # what archives unpack to
FACES = {"train": (20_000, 0), "test": (4_096, 1)}  # how many, and their seed


def __getattr__(name: str):
    if name == "Batches":
        from gan_ref.data.batches import Batches

        return Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_dataset(
    source: str,
    image_size: int = 32,
    channels: int | None = None,
    split: str = "train",
    cache_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Dataset | None:
    """Open a source of real samples at ``image_size`` with 1 or 3 ``channels`` (None: what the data is).

    ``source`` is "faces", "ring8" or "grid25", or a path: a folder of images or a .zip of one, a folder of
    MNIST's IDX files or of CIFAR-10's batches, a .npz or .npy of uint8. (A folder that is called faces is
    ./faces.) ``split`` "test" gives a source's own held-out part, None where it has none. Images are decoded
    once, into ``cache_dir``, by ``workers`` processes (None: every core). Raises UserError for a source that
    cannot be used.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if channels not in (None, 1, 3):
        raise UserError(f"channels must be 1 (gray) or 3 (colour), not {channels}")
    if source in MIXTURES:
        return mixture(source, seed=0 if split == "train" else 1)
    check_image_size(image_size)
    cores = workers or available_cores()
    if source == "faces":
        return faces_dataset(image_size, channels or 3, split, cache_dir, progress, cores)
    path = Path(os.path.expanduser(source))
    if not source or not os.path.exists(path):
        known = ", ".join(("faces", *MIXTURES))
        raise UserError(f"no data at {source!r}; give {known}, or the path of a folder, .zip, .npz or .npy")
    settings = image_size, channels
    if path.is_dir():
        return open_folder(path, settings, split, cache_dir, progress, cores)
    if split == "test":
        return None
    if path.suffix.lower() == ".npy":
        return npy_dataset(path, *settings, cache_dir, progress)
    if path.suffix.lower() == ".npz":
        return npz_dataset(path, *settings, cache_dir, progress)
    if path.suffix.lower() == ".zip":
        return folder_dataset(path, *settings, cache_dir, progress, cores)
    raise UserError(f"{source} is neither a folder nor a .zip, .npz or .npy")


def open_folder(
    path: Path,
    settings: tuple[int, int | None],
    split: str,
    cache_dir: Path | None,
    progress: bool,
    cores: int,
) -> Dataset | None:
    """MNIST's or CIFAR-10's files if the folder, or the one they unpack to, has them; else its images."""
    for folder in (path, *(path / name for name in UNPACKED if (path / name).is_dir())):
        for found, dataset in ((holds_mnist, mnist_dataset), (holds_cifar, cifar_dataset)):
            if found(folder):
                opened = dataset(folder, *settings, split, cache_dir, progress)
                if opened is None and split == "train":
                    raise UserError(f"{folder} has only test files; put the training files beside them")
                return opened
    return folder_dataset(path, *settings, cache_dir, progress, cores) if split == "train" else None


def faces_dataset(
    size: int, channels: int, split: str, cache_dir: Path | None, progress: bool, cores: int
) -> Dataset:
    """The built-in portraits, drawn once into the cache; labels are the classes, factors what was drawn."""
    from gan_ref.data import faces

    count, seed = FACES[split]
    jobs = [(start, min(start + 512, count)) for start in range(0, count, 512)]
    draw = partial(draw_faces, size, channels, seed)
    entry = cached(
        f"faces-{split}",
        ["faces", faces.VERSION, count, seed],
        (size, size, channels),
        lambda: in_order(draw, jobs, cores),
        count,
        cache_dir,
        progress,
    )
    labels, classes = faces.classes(entry.labels)
    return Dataset("faces", entry.samples, labels, tuple(classes), flip=True, factors=entry.labels)


def draw_faces(size: int, channels: int, seed: int, span: tuple[int, int]) -> Rows:
    """Faces number span[0] to span[1]."""
    from gan_ref.data import faces

    samples, factors = faces.draw(np.arange(*span), size, seed)
    if channels == 1:
        gray = samples @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as for decoded images
        samples = np.rint(gray).astype(np.uint8)[..., None]
    return Rows(samples, factors)
