"""Images as numpy wrote them: a .npy, or a .npz with labels, of uint8 (N, H, W, C) or (N, H, W)."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from gan_ref.data.cache import Rows, cached, file_identity
from gan_ref.data.dataset import Dataset
from gan_ref.data.decode import fit_arrays
from gan_ref.errors import UserError

LABELS = ("labels", "label", "y")
CHUNK = 256
UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile)


def npy_dataset(
    path: Path, size: int, channels: int | None, cache_dir: Path | None = None, progress: bool = True
) -> Dataset:
    """A .npy. One that has the size and channels asked for is memory-mapped where it lies, without a copy."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{path} is not a readable .npy of uint8: {error}") from None
    if not isinstance(array, np.ndarray):
        raise UserError(f"{path} is not a .npy file")
    images = check_images(array.dtype, array.shape, path)
    channels = channels or (1 if images[3] == 1 else 3)
    name = path.resolve().stem
    if images[1:] == (size, size, channels) and not array.flags.f_contiguous:
        return Dataset(name, array.reshape(images), flip=True)

    def rows() -> Iterator[Rows]:
        for start in range(0, len(array), CHUNK):
            block = np.ascontiguousarray(array[start : start + CHUNK]).reshape(-1, *images[1:])
            yield Rows(fit_arrays(block, size, channels))

    entry = cached(name, [file_identity(path)], (size, size, channels), rows, len(array), cache_dir, progress)
    return Dataset(name, entry.samples, flip=True)


def npz_dataset(
    path: Path, size: int, channels: int | None, cache_dir: Path | None = None, progress: bool = True
) -> Dataset:
    """A .npz with one array of images under any name and, if it has any, integers under "labels" or "y"."""
    try:
        with zipfile.ZipFile(path) as archive:
            identity = [(member.filename, member.file_size, member.CRC) for member in archive.infolist()]
            names = [name for name in archive.namelist() if name.endswith(".npy")]
            headers = {name: _header_of(archive, name) for name in names}
        found = [name for name, (shape, _, _) in headers.items() if len(shape) in (3, 4)]
        if len(found) != 1:
            raise UserError(f"{path} must hold one array of images, (N, H, W[, C]), not {len(found)}")
        shape, fortran, dtype = headers[found[0]]
        images = check_images(dtype, shape, path)
        if fortran:
            raise UserError(f"{path} is in Fortran order; save numpy.ascontiguousarray(images) instead")
        labels, classes = _read_labels(path, headers, images[0])
    except UNREADABLE as error:
        raise UserError(f"{path} is not a readable .npz: {error}") from None
    channels = channels or (1 if images[3] == 1 else 3)

    def rows() -> Iterator[Rows]:
        done = 0
        for block in _stream(path, found[0], images):
            named = {} if labels is None else {"labels": labels[done : done + len(block)]}
            yield Rows(fit_arrays(block, size, channels), named)
            done += len(block)

    name = path.resolve().stem
    entry = cached(name, identity, (size, size, channels), rows, images[0], cache_dir, progress)
    return Dataset(name, entry.samples, entry.labels.get("labels"), classes, flip=True)


def check_images(dtype: np.dtype, shape: tuple[int, ...], path: Path) -> tuple[int, int, int, int]:
    """The shape as (N, H, W, C), or a UserError that says what is wrong with it."""
    if dtype != np.uint8:
        raise UserError(f"{path} holds {dtype}, not uint8; save the images as uint8 from 0 to 255")
    full = (*shape, 1) if len(shape) == 3 else shape
    if len(full) != 4 or full[3] not in (1, 3, 4) or 0 in full:
        hint = "; move the channels last" if len(full) == 4 and full[1] in (1, 3) else ""
        raise UserError(f"{path} has shape {shape}, not (N, H, W) or (N, H, W, 1, 3 or 4){hint}")
    return full


def _header_of(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    with archive.open(name) as file:
        return _read_header(file)


def _read_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _stream(path: Path, member: str, images: tuple[int, int, int, int]) -> Iterator[np.ndarray]:
    """Blocks (n, H, W, C) straight from the archive, which is never held whole."""
    count, row = images[0], int(np.prod(images[1:]))
    try:
        with zipfile.ZipFile(path) as archive, archive.open(member) as file:
            _read_header(file)
            for start in range(0, count, CHUNK):
                want = min(CHUNK, count - start)
                data = file.read(want * row)
                if len(data) < want * row:
                    raise UserError(f"{path} declares {count} images but holds fewer; save it again")
                yield np.frombuffer(data, np.uint8).reshape(want, *images[1:])
    except UNREADABLE as error:
        raise UserError(f"{path} cannot be read: {error}; save it again") from None


def _read_labels(path: Path, headers: dict, count: int) -> tuple[np.ndarray | None, tuple[str, ...]]:
    name = next((name for name in LABELS if f"{name}.npy" in headers), None)
    if name is None:
        return None, ()
    shape, _, dtype = headers[f"{name}.npy"]
    if shape not in ((count,), (count, 1)) or dtype.kind not in "iu":
        raise UserError(f"{path}: {name!r} must be {count} integers, not {dtype} of shape {shape}")
    with np.load(path, allow_pickle=False) as arrays:
        labels = arrays[name].reshape(-1)
    values, labels = np.unique(labels, return_inverse=True)
    return labels.astype(np.int64), tuple(str(value) for value in values)
