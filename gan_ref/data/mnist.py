"""MNIST's IDX files (LeCun, Cortes & Burges 1998), gzipped or not, and the sets that took over the format.

A header of big-endian 32-bit numbers (magic 0x0803 for images, 0x0801 for labels; the sizes), then bytes.
"""

from __future__ import annotations

import gzip
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gan_ref.data.cache import Rows, cached, file_identity
from gan_ref.data.dataset import Dataset
from gan_ref.data.decode import fit_arrays
from gan_ref.errors import UserError

PREFIX = {"train": "train", "test": "t10k"}
CHUNK = 1024
MAX_SIDE = 4096


def find_idx(folder: Path, kind: str, split: str) -> Path | None:
    """The file of "images" or "labels" in ``folder``: train-images-idx3-ubyte.gz and its usual spellings."""
    # train-images.idx3-ubyte is as common, and EMNIST has its own name before.
    pattern = re.compile(rf"(.*-)?{PREFIX[split]}-{kind}[-.]idx\d-ubyte(\.gz)?")
    return min((path for path in folder.iterdir() if pattern.fullmatch(path.name)), default=None)


def holds_mnist(folder: Path) -> bool:
    return any(find_idx(folder, "images", split) for split in PREFIX)


def mnist_dataset(
    folder: Path,
    size: int,
    channels: int | None,
    split: str,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Dataset | None:
    """The digits in ``folder``; None if it has none of this split.

    At image size 32, 28×28 digits keep their pixels and get a black frame of 2, as is customary; at other
    sizes they are resized.
    """
    images, label_file = find_idx(folder, "images", split), find_idx(folder, "labels", split)
    if images is None:
        return None
    labels = None if label_file is None else read_labels(label_file)
    with open_idx(images) as file:
        count, height, width = read_header(file, images, 0x0803, 3)
    if labels is not None and len(labels) != count:
        raise UserError(f"{images} declares {count} images, but {label_file.name} has {len(labels)} labels")

    def rows() -> Iterator[Rows]:
        done = 0
        for block in read_images(images):
            named = {} if labels is None else {"labels": labels[done : done + len(block)]}
            yield Rows(fit_arrays(block, size, channels or 1, pad=size == 32), named)
            done += len(block)

    identity = [file_identity(path) for path in (images, label_file) if path]
    shape = (size, size, channels or 1)
    entry = cached(f"{folder.resolve().name}-{split}", identity, shape, rows, count, cache_dir, progress)
    classes = () if labels is None else tuple(str(k) for k in range(int(labels.max()) + 1))
    return Dataset(folder.resolve().name, entry.samples, entry.labels.get("labels"), classes)


def read_images(path: Path) -> Iterator[np.ndarray]:
    """Blocks of uint8 (n, H, W, 1); UserError if the file is shorter or longer than its header says."""
    with open_idx(path) as file:
        count, height, width = read_header(file, path, 0x0803, 3)
        for start in range(0, count, CHUNK):
            want = min(CHUNK, count - start)
            data = read(file, path, want * height * width)
            if len(data) < want * height * width:
                held = start + len(data) // (height * width)
                raise UserError(f"{path} declares {count} images but holds only {held}; download it again")
            yield np.frombuffer(data, np.uint8).reshape(want, height, width, 1)
        check_end(file, path, f"{count} images")


def read_labels(path: Path) -> np.ndarray:
    """All labels, int64 (N,)."""
    with open_idx(path) as file:
        (count,) = read_header(file, path, 0x0801, 1)
        data = read(file, path, count)
        if len(data) < count:
            raise UserError(f"{path} declares {count} labels but holds only {len(data)}; download it again")
        check_end(file, path, f"{count} labels")
    return np.frombuffer(data, np.uint8).astype(np.int64)


def open_idx(path: Path) -> BinaryIO:
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")


def read_header(file: BinaryIO, path: Path, magic: int, dimensions: int) -> tuple[int, ...]:
    header = read(file, path, 4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or struct.unpack(">I", header[:4])[0] != magic:
        raise UserError(f"{path} is no IDX file of bytes in {dimensions} dimensions; download it again")
    sizes = struct.unpack(f">{dimensions}I", header[4:])
    if not all(sizes) or max(sizes[1:], default=1) > MAX_SIDE:
        declared = "x".join(map(str, sizes))
        raise UserError(f"{path} declares sizes {declared}, which no set of images has; download it again")
    return sizes


def read(file: BinaryIO, path: Path, count: int) -> bytes:
    """Up to ``count`` bytes. They are asked for in pieces, so a false count reserves no memory."""
    pieces = []
    try:
        while count and (piece := file.read(min(count, 1 << 24))):
            pieces.append(piece)
            count -= len(piece)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}; download it again") from None
    return b"".join(pieces)


def check_end(file: BinaryIO, path: Path, declared: str) -> None:
    if read(file, path, 1):
        raise UserError(f"{path} goes on after the {declared} that it declares; download it again")
