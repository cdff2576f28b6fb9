"""CIFAR-10's own files (Krizhevsky 2009): the binary batches, and the Python batches without running them.

Both hold 32×32 images as planes: 1024 reds, 1024 greens, 1024 blues.
"""

import io
import pickle
from collections.abc import Iterator
from dataclasses import replace
from operator import index
from pathlib import Path
from typing import Any

import numpy as np

from gan_ref.data.arrays import fit_rows
from gan_ref.data.cache import Rows, file_identity, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.files import read_untrusted

PIXELS = 3 * 32 * 32
MAX_BYTES = 256 << 20  # a batch of 10,000 has 31 MB
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find_batches(folder: Path, split: str) -> list[Path]:
    """The batch files of a split, binary if there are any, else Python; [] if this is no CIFAR-10 folder."""
    stem = "data_batch_[0-9]*" if split == "train" else "test_batch"
    python = [path for path in sorted(folder.glob(stem)) if not path.suffix]
    return sorted(folder.glob(f"{stem}.bin")) or python


def cifar_dataset(folder: Path, options: Options) -> Dataset | None:
    """The images of the CIFAR-10 batches in ``folder``; None if it has none of this split."""
    batches = find_batches(folder, options.split)
    if not batches:
        return None
    options = replace(options, channels=options.channels or 3)

    def rows() -> Iterator[Rows]:
        for path in batches:
            yield from fit_rows(*read_batch(path), options)

    identity = [file_identity(path) for path in batches]
    opened = open_or_build(folder.resolve().name, identity, options, rows, 10_000 * len(batches))
    return replace(opened, classes=CLASSES, flip=True)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels int64 (N,) of a batch. Raises UserError if it is not one."""

    def load(path: Path) -> tuple[np.ndarray, np.ndarray]:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES >> 20} MiB")
        planes, labels = parse_binary(path) if path.suffix == ".bin" else parse_pickle(path.read_bytes())
        if len(planes) != len(labels) or not 0 <= labels.min() <= labels.max() < len(CLASSES):
            raise ValueError("its labels are not one of ten classes for each image")
        return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels

    return read_untrusted(path, load, "a CIFAR-10 batch of plain data", "download it again")


def parse_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Planes uint8 (N, 3072) and labels (N,): each record is a label, then the planes."""
    records = np.fromfile(path, np.uint8).reshape(-1, 1 + PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def parse_pickle(program: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The same of a Python batch: {"data": array, "labels": list, …}."""
    batch = PlainUnpickler(io.BytesIO(program), encoding="latin1").load()
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    _, shape, dtype, fortran, data = batch["data"].state  # as numpy.ndarray.__setstate__ takes it
    if dtype.arguments[0] not in ("u1", "|u1", "uint8"):
        raise ValueError("its array 'data' is not of unsigned bytes")
    data = data.encode("latin-1") if isinstance(data, str) else data
    planes = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")
    return planes.reshape(-1, PIXELS), np.array([index(label) for label in batch["labels"]], np.int64)


class StandIn:
    """Stands for what a pickle would import; it keeps what it is called with, and does nothing."""

    arguments: tuple = ()
    state: tuple = ()

    def __init__(self, *arguments: Any):
        self.arguments = arguments

    def __setstate__(self, state: tuple) -> None:
        self.state = state


Unpickler: Any = pickle._Unpickler  # typeshed does not know its methods


class PlainUnpickler(Unpickler):
    """Reads dicts, lists, tuples, numbers and text; an array becomes a StandIn that holds its parts.

    A pickle is a program for a small stack machine, which can import and call anything. This one imports
    nothing. It builds on the unpickler written in Python, since the one in C fills memory up to whatever memo
    index a file names, as both do for a bytearray. Sets are refused, and keys other than text, since hashing
    a deep tuple overflows the stack.
    """

    KNOWN = (
        "numpy.ndarray numpy.dtype _codecs.encode "
        "numpy.core.multiarray._reconstruct numpy._core.multiarray._reconstruct"
    ).split()

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in self.KNOWN:
            raise ValueError(f"it would run {module}.{name}")
        if name == "encode":  # _codecs.encode(text, "latin1") is how protocol 2 writes bytes
            return lambda text, *_: text
        return StandIn

    def load_setitems(self) -> None:
        items = self.pop_mark()
        if not all(isinstance(key, (str, bytes)) for key in items[::2]):
            raise ValueError("it has a key that is not text")
        self.stack[-1].update(zip(items[::2], items[1::2]))

    dispatch = Unpickler.dispatch | {pickle.SETITEMS[0]: load_setitems}
    for refused in "SETITEM", "DICT", "EMPTY_SET", "ADDITEMS", "FROZENSET", "BYTEARRAY8":
        del dispatch[getattr(pickle, refused)[0]]
