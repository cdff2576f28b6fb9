"""Where real samples come from: one name or path in, one Dataset out.

Nothing here imports torch until ``Batches`` is asked for: every decoding process imports this package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gan_ref.config import Config
from gan_ref.data.arrays import npy_dataset, npz_dataset
from gan_ref.data.cache import Rows, open_or_build
from gan_ref.data.cifar import cifar_dataset, find_batches
from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.folder import folder_dataset, list_folder
from gan_ref.data.mixtures import MIXTURES
from gan_ref.data.mnist import find_idx, mnist_dataset
from gan_ref.data.points import is_points, open_points
from gan_ref.data.published import BY_HAND, PUBLISHED, published_archive, published_folder
from gan_ref.data.stacked import STACKED, stacked_dataset
from gan_ref.data.streams import ENDINGS, PATTERN, shards_in, stream_dataset
from gan_ref.data.svhn import find_svhn, svhn_dataset
from gan_ref.data.workers import available_cores, in_order
from gan_ref.errors import UserError
from gan_ref.shapes import ImageSize, read_image_size, sides

if TYPE_CHECKING:
    from gan_ref.data.batches import Batches

__all__ = ["Batches", "Dataset", "is_points", "open_dataset", "open_split", "open_training"]

UNPACKED = ("MNIST/raw", "raw", "cifar-10-batches-bin", "cifar-10-batches-py")  # what archives unpack to
BUILT_IN = ("faces", *MIXTURES)
PHOTOGRAPHS = ("flowers102", "lfw")  # published sets that are an archive of pictures
FACES = {"train": (20_000, 0), "test": (4_096, 1)}  # how many, and their seed
READERS = {".zip": folder_dataset, ".npz": npz_dataset, ".npy": npy_dataset}
READERS |= dict.fromkeys(ENDINGS, stream_dataset)
FILES = f"one of {' '.join(READERS)}"


def __getattr__(name: str):
    if name == "Batches":
        from gan_ref.data.batches import Batches

        return Batches
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def open_dataset(
    source: str,
    image_size: ImageSize = 32,
    channels: int | None = None,
    split: str = "train",
    workers: int | None = None,
    follow_links: bool = False,
    points_std: float = 0.0,
) -> Dataset | None:
    """Open a source of real samples at ``image_size`` with 1 or 3 ``channels`` (None: what the data is).

    An image size is 64, or "96x64", height by width (gan_ref/shapes.py).

    ``source`` is "faces", "ring8", "grid25" or "swissroll", or a path: a folder of images, a .zip or .tar of
    one, a .parquet file, a folder of archives or of parquet files, a pattern as x-{000..009}.tar, a folder of
    MNIST's IDX files or of CIFAR-10's batches, a .npz or .npy of uint8, or a .npy of points, floats (N, 2).
    (A folder that is called faces is ./faces.) Or it is the name of a published set, which is downloaded
    unless a file or folder here is called so. "stacked-mnist:SOURCE" has three digits of MNIST in each image,
    as its channels. ``split`` "test" gives a source's own held-out part, None where it has none. Images are
    decoded once, into the cache, by ``workers`` processes (None: one for each core). Links that lead out of a
    folder of images are left out and named, unless ``follow_links``. Points are scaled to the standard
    deviation ``points_std``, if it is not 0. Raises UserError for a source that cannot be used.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if channels not in (None, 1, 3):
        raise UserError(f"channels must be 1 (gray) or 3 (colour), not {channels}")
    if is_points(source):
        return open_points(source, split, points_std)
    options = Options(read_image_size(image_size), channels, split, workers, follow_links)
    if source == "faces":
        return faces_dataset(options)
    if source.startswith(STACKED):
        digits = open_dataset(source[len(STACKED) :], image_size, 1, split, workers, follow_links)
        return None if digits is None else stacked_dataset(digits, options)
    path = Path(os.path.expanduser(source))
    if source in (*PUBLISHED, *BY_HAND) and not path.exists():
        return open_published(source, options)
    if not source or not (os.path.exists(path) or PATTERN.fullmatch(path.name)):
        known = ", ".join((*BUILT_IN, *PUBLISHED))
        raise UserError(f"no data at {source!r}; give {known}, or the path of a folder or {FILES}")
    if path.is_dir():
        return open_folder(path, options)
    if path.suffix.lower() in (".h5", ".hdf5"):
        todo = "save its images, uint8 (N, H, W, C), as a .npy with numpy"
        raise UserError(f"{source}: HDF5 is not read; {todo}")
    reader = next((READERS[ending] for ending in READERS if path.name.lower().endswith(ending)), None)
    if reader is None:
        raise UserError(f"{source} is neither a folder nor {FILES}")
    return reader(path, options) if split == "train" else None


def absolute(source: str) -> str:
    """The source with its path, if it has one, made absolute: a run is resumed from any folder."""
    if source in BUILT_IN:
        return source
    prefix = STACKED if source.startswith(STACKED) else ""
    path = os.path.expanduser(source[len(prefix) :])
    is_path = os.path.exists(path) or PATTERN.fullmatch(os.path.basename(path))
    return prefix + os.path.abspath(path) if is_path else source


def has_small_images(source: str) -> bool:
    """Whether it is MNIST, CIFAR-10, SVHN or of their formats: images of 28 or 32 pixels a side."""
    path = Path(os.path.expanduser(source.removeprefix(STACKED)))
    if not path.exists():
        return str(path) in PUBLISHED and str(path) not in PHOTOGRAPHS
    return any(holds_known_set(folder, "train") for folder in places(path))


def places(path: Path) -> Iterator[Path]:
    """Where a known set's files may lie: the folder, and those that its archives unpack to."""
    return filter(can_list, (path, *(path / name for name in UNPACKED)))


def holds_known_set(folder: Path, split: str) -> bool:
    """Whether MNIST's, CIFAR-10's or SVHN's files of this split are in the folder."""
    return any((find_idx(folder, "images", split), find_batches(folder, split), find_svhn(folder, split)))


def short_name(source: str) -> str:
    """A name for the source: "faces", or of a path its last part without an ending."""
    stem = Path(source).stem.split("{")[0].removesuffix(".tar").rstrip("-_")
    return STACKED[:-1] if source.startswith(STACKED) else stem or "data"


def open_split(config: Config, split: str) -> Dataset | None:
    """The data that a run's settings name; None if it has no such split.

    Raises UserError also if it has images where the run has points, or points where the run has images.
    """
    if is_points(config.data) != config.points:
        no, kind = ("no ", "points") if config.points else ("", "images")
        raise UserError(f"there are {no}points at {config.data}, and G makes {kind}")
    size, channels = config.image_size or 32, config.channels
    more = config.threads, config.follow_links, config.points_std
    opened = open_dataset(config.data, size, channels, split, *more)
    return by_factor(opened, config.label_factor) if opened and config.label_factor else opened


def open_training(config: Config) -> Dataset:
    """The data that a run of these settings is trained on; UserError if it is not there, or another kind."""
    opened = open_split(config, "train")
    assert opened is not None
    return opened


def by_factor(dataset: Dataset, factor: str) -> Dataset:
    """The data with one of its factors, as "hair_style", as its labels. UserError if it has no such one."""
    from gan_ref.data import faces

    if factor not in dataset.factors:
        known = ", ".join(dataset.factors) or "none"
        raise UserError(f"--label-factor {factor!r}: the factors of {dataset.name} are {known}")
    labels, classes = faces.classes(dataset.factors, (factor,))
    return replace(dataset, labels=labels, classes=classes)


def open_folder(path: Path, options: Options) -> Dataset | None:
    """MNIST's, CIFAR-10's or SVHN's files in the folder, or in the one they unpack to; else its images."""
    if not can_list(path):
        raise UserError(f"cannot read the folder {path}: permission denied")
    for folder in places(path):
        known = mnist_dataset, cifar_dataset, svhn_dataset
        if opened := next((found for of in known if (found := of(folder, options))), None):
            return opened
        if options.split == "train" and holds_known_set(folder, "test"):
            raise UserError(f"{folder} has only test files; put the training files beside them")
    shards = shards_in(path)
    if shards and not list_folder(path, options.follow_links)[0]:
        chosen = shards[options.split]
        return stream_dataset(path, options, chosen) if chosen else None
    return folder_dataset(path, options) if options.split == "train" else None


def open_published(name: str, options: Options) -> Dataset | None:
    """A published set by its name."""
    if name in PHOTOGRAPHS:
        return published_archive(name, options)
    opened = open_folder(published_folder(name), options)
    return opened and replace(opened, name=name, classes=PUBLISHED[name].classes or opened.classes)


def can_list(folder: Path) -> bool:
    return os.path.isdir(folder) and os.access(folder, os.R_OK | os.X_OK)


def faces_dataset(options: Options) -> Dataset:
    """The built-in portraits, drawn once into the cache; labels are the classes, factors what was drawn."""
    from gan_ref.data import faces

    channels = options.channels or 3
    options = replace(options, channels=channels)
    count, seed = FACES[options.split]
    jobs = [(start, min(start + 512, count)) for start in range(0, count, 512)]
    draw = partial(draw_faces, sides(options.image_size), channels, seed)
    identity = ["faces", faces.VERSION, count, seed]
    cores = options.workers or available_cores()
    opened = open_or_build("faces", identity, options, lambda: in_order(draw, jobs, cores), count)
    labels, classes = faces.classes(opened.factors)
    return replace(opened, labels=labels, classes=classes, flip=True)


def draw_faces(size: tuple[int, int], channels: int, seed: int, span: tuple[int, int]) -> Rows:
    """Faces number span[0] to span[1]."""
    from gan_ref.data import faces

    samples, factors = faces.draw(np.arange(*span), size, seed)
    if channels == 1:
        gray = samples @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as for decoded images
        samples = np.rint(gray).astype(np.uint8)[..., None]
    return Rows(samples, factors)
