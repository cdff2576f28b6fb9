"""SVHN's cropped digits (Netzer et al. 2011): train_32x32.mat and test_32x32.mat, of MATLAB's version 5.

Such a file is a header of 128 bytes and then elements: a tag (what, how many bytes) and the bytes. One
element holds each variable, as a matrix or as a compressed one, and a matrix is four elements: flags, sizes,
name and numbers, in Fortran's order. Nothing in it can be run. Cells, structures and objects are refused.
"""

import itertools
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from gan_ref.data.arrays import as_images, fit_rows
from gan_ref.data.cache import file_identity, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.files import read_untrusted

NUMBERS = {1: "i1", 2: "u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8"}
MATRIX, COMPRESSED = 14, 15
MAX_BYTES = 1 << 30  # of a file, and unpacked; the training digits have 225 MB


def find_svhn(folder: Path, split: str) -> Path | None:
    path = folder / f"{split}_32x32.mat"
    return path if path.exists() else None


def svhn_dataset(folder: Path, options: Options) -> Dataset | None:
    """The digits in ``folder``, without those of extra_32x32.mat; None if it has none of this split."""
    path = find_svhn(folder, options.split)
    if path is None:
        return None
    options = replace(options, channels=options.channels or 3)
    rows = lambda: fit_rows(*read_svhn(path), options)
    opened = open_or_build(folder.resolve().name, [file_identity(path)], options, rows)
    return replace(opened, classes=tuple("0123456789"))


def read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels int64 (N,) from 0 to 9, of X (32, 32, 3, N) and y (N, 1), where
    10 stands for 0. Raises UserError if it holds anything else.
    """

    def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it has more than 1 GiB")
        found = {name: of for name, of in variables(path.read_bytes()) if name in ("X", "y")}
        if len(found) < 2 or found["X"].ndim != 4:
            raise ValueError("it lacks X of four dimensions, or y")
        images, labels = as_images(found["X"].transpose(3, 0, 1, 2)), found["y"].reshape(-1)
        if len(labels) != len(images) or not np.isin(labels, np.arange(11)).all():
            raise ValueError(f"y is not a digit for each of {len(images)} images")
        return images, labels.astype(np.int64) % 10

    return read_untrusted(path, load, "a MATLAB 5 file of SVHN's digits", "download it again")


def variables(content: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """The name and the numbers of each variable of a file. Raises ValueError for what is no such file."""
    if content[124:128] != b"\x00\x01IM":
        raise ValueError("it has another header")
    left = MAX_BYTES
    for kind, body in elements(memoryview(content)[128:]):
        if kind == COMPRESSED:
            plain = zlib.decompressobj().decompress(body, left + 1)
            left -= len(plain)
            if left < 0:
                raise ValueError("it holds more than 1 GiB")
            kind, body = next(elements(memoryview(plain)), (0, memoryview(b"")))
        if kind != MATRIX:
            raise ValueError("it holds something other than variables")
        (_, flags), (_, sizes), (_, name), (held, data) = itertools.islice(elements(body), 4)
        shape = np.frombuffer(sizes, "<i4").tolist()
        if not 6 <= flags[0] <= 13 or flags[1] & 8 or held not in NUMBERS or min(shape) < 0:
            raise ValueError("a variable is no array of real numbers")
        numbers = np.frombuffer(data, NUMBERS[held])
        if math.prod(shape) != len(numbers):
            declared = "×".join(map(str, shape))
            raise ValueError(f"a variable declares {declared} numbers but holds {len(numbers)}")
        yield str(name, "latin-1"), numbers.reshape(shape, order="F")


def elements(content: memoryview) -> Iterator[tuple[int, memoryview]]:
    """What each element is, and its bytes. One of four bytes or fewer may lie within its tag."""
    at = 0
    while at < len(content):
        kind, size = struct.unpack_from("<II", content, at)
        start = at + 8
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, min(kind >> 16, 4), at + 4
        if size > len(content) - start:
            raise ValueError("it is cut off")
        yield kind, content[start : start + size]
        at = max(at + 8, start + size)
        at += 0 if kind == COMPRESSED else -at % 8
