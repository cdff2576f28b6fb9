"""MNIST's IDX files (LeCun, Cortes & Burges 1998), gzipped or not, and the sets that took over the format.

A header of big-endian 32-bit numbers (magic 0x0803 for images, 0x0801 for labels; the sizes), then bytes.
"""

import gzip
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gan_ref.data.arrays import fit_rows
from gan_ref.data.cache import Rows, file_identity, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.errors import UserError
from gan_ref.files import read_untrusted

PREFIX = {"train": "train", "test": "t10k"}
MAX_SIDE = 4096
MAX_BYTES = 1 << 30  # EMNIST, the largest known set, has 550 MB


def find_idx(folder: Path, kind: str, split: str) -> Path | None:
    """The file of "images" or "labels" in ``folder``: train-images-idx3-ubyte.gz and its usual spellings."""
    # train-images.idx3-ubyte is as common, and EMNIST puts its own name before.
    pattern = re.compile(rf"(.*-)?{PREFIX[split]}-{kind}[-.]idx\d-ubyte(\.gz)?")
    return min((path for path in folder.iterdir() if pattern.fullmatch(path.name)), default=None)


def mnist_dataset(folder: Path, options: Options) -> Dataset | None:
    """The digits in ``folder``; None if it has none of this split.

    At image size 32, 28×28 digits keep their pixels and get a black frame of 2, as is customary; at other
    sizes they are cropped to the ratio of the sides and resized.
    """
    images, labels = (find_idx(folder, kind, options.split) for kind in ("images", "labels"))
    if images is None:
        return None
    options = replace(options, channels=options.channels or 1)

    def rows() -> Iterator[Rows]:
        digits = read_idx(images, 3)[..., None]
        classes = None if labels is None else read_idx(labels, 1)
        if classes is not None and len(classes) != len(digits):
            raise UserError(f"{labels} has {len(classes)} labels, but {images.name} has {len(digits)} images")
        return fit_rows(digits, classes, options, pad=options.image_size == 32)

    identity = [file_identity(path) for path in (images, labels) if path]
    opened = open_or_build(folder.resolve().name, identity, options, rows)
    count = 0 if opened.labels is None else int(opened.labels.max()) + 1
    return replace(opened, classes=tuple(map(str, range(count))))


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in an IDX file: uint8 (N, H, W) for 3 dimensions, (N,) for 1.

    Raises UserError for another kind of file, and if it is shorter or longer than its header says.
    """

    def load(path: Path) -> np.ndarray:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * dimensions)
            if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
                raise ValueError("it has another header")
            sizes = struct.unpack(f">{dimensions}I", header[4:])
            if not all(sizes) or max(sizes[1:], default=1) > MAX_SIDE:
                raise ValueError(f"it declares sizes {'×'.join(map(str, sizes))}, which no set of images has")
            size = math.prod(sizes)
            data = file.read(min(size, MAX_BYTES) + 1)
        if len(data) > MAX_BYTES:
            raise ValueError("it holds more than 1 GiB")
        if len(data) < size:
            raise ValueError(f"it declares {sizes[0]} items but holds only {len(data) * sizes[0] // size}")
        if len(data) > size:
            raise ValueError(f"it goes on after the {sizes[0]} items that it declares")
        return np.frombuffer(data, np.uint8).reshape(sizes)

    return read_untrusted(path, load, f"an IDX file of bytes in {dimensions} dimensions", "download it again")
