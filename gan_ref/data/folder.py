"""Image files in a folder, or in a .zip, which is read where it lies.

What is an image goes by its extension; other files (notes, .DS_Store, film clips) are passed over.
Labels are the names of the first-level folders, after peeling off folders that hold everything, and there are
none when images lie beside those folders or in one folder only.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_ref.data.cache import Rows, available_cores, cached, in_order
from gan_ref.data.dataset import Dataset
from gan_ref.data.decode import EXTENSIONS, MAX_BYTES, decode, is_gray, read_bytes
from gan_ref.errors import UserError

CHUNK = 64  # files a job: 1.5 MB of result at 64×64
IN_PROCESS = 200  # with fewer files than this, starting processes takes longer than decoding
LOOKED_AT = 256  # headers read, evenly spread, to tell whether the data is gray


class File(NamedTuple):
    """An image file as listed, without looking inside."""

    name: str  # relative, with forward slashes
    member: str | int  # how to open it: its path in the folder, or its number in the archive
    size: int
    stamp: int  # mtime in ns; in an archive, the CRC
    error: str | None = None  # why it cannot even be tried


def folder_dataset(
    path: Path,
    size: int,
    channels: int | None,
    cache_dir: Path | None = None,
    progress: bool = True,
    workers: int | None = None,
) -> Dataset:
    """The images of a folder or .zip at ``path``, decoded once into the cache."""
    files = list_archive(path) if path.is_file() else list_folder(path)
    name = path.resolve().name or "data"
    if not files:
        raise UserError(f"{path}: no image in it; looked for " + " ".join(sorted(EXTENSIONS)))
    labels, classes = label_by_folder([file.name for file in files])
    channels = channels or guess_channels(path, files)

    def rows() -> Iterator[Rows]:
        jobs = (
            (files[i : i + CHUNK], None if labels is None else labels[i : i + CHUNK])
            for i in range(0, len(files), CHUNK)
        )
        processes = 1 if len(files) < IN_PROCESS else workers or available_cores()
        return in_order(partial(decode_files, path, size, channels), jobs, processes)

    # An archive is known by its checksums wherever it lies; a folder's times are only good for that folder.
    place = "zip" if path.is_file() else str(path.resolve())
    identity = (place, *((file.name, file.size, file.stamp) for file in files))
    entry = cached(name, identity, (size, size, channels), rows, len(files), cache_dir, progress)
    return Dataset(
        name,
        entry.samples,
        entry.labels.get("labels"),
        classes,
        flip=True,
        skipped=entry.skipped,
        skipped_count=entry.skipped_count,
    )


def decode_files(path: Path, size: int, channels: int, job: tuple[list[File], np.ndarray | None]) -> Rows:
    """Decode a few files of ``path``; one that fails is named with its reason and left out."""
    files, labels = job
    images, kept, skipped = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, about odd metadata and large pictures
        for i, file in enumerate(files):
            try:
                images.append(decode(read_file(path, file), size, channels))
                kept.append(i)
            except Exception as error:  # a decoder fails in as many ways as there are broken files
                skipped.append(f"{printable(file.name)}: {printable(str(error)) or type(error).__name__}")
    samples = np.stack(images) if images else np.empty((0, size, size, channels), np.uint8)
    return Rows(samples, {} if labels is None else {"labels": labels[kept]}, skipped)


def read_file(path: Path, file: File):
    """The file's bytes, from the folder or the archive at ``path``."""
    if file.error:
        raise ValueError(file.error)
    if file.size > MAX_BYTES:  # of an archive's member, what it would be when unpacked
        raise ValueError(f"{file.size} bytes, more than {MAX_BYTES}")
    if isinstance(file.member, str):
        with open(path / file.member, "rb") as stream:
            return read_bytes(stream)
    archive = _archive(path, path.stat().st_mtime_ns)
    with archive.open(archive.infolist()[file.member]) as stream:
        return read_bytes(stream)


def list_folder(root: Path) -> list[File]:
    """Image files under ``root``, sorted by name. Links are followed, but no folder is entered twice."""
    files, folders, entered = [], [""], set()
    while folders:
        inside = folders.pop()
        try:
            status = os.stat(root / inside)
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(root / inside) as entries:
                found = list(entries)
        except OSError as error:
            if not inside:
                raise UserError(f"cannot read the folder {root}: {error.strerror}") from None
            files.append(File(inside, inside, 0, 0, f"cannot read the folder: {error.strerror}"))
            continue
        for entry in found:
            name = f"{inside}/{entry.name}" if inside else entry.name
            try:
                if entry.is_dir():
                    folders.append(name)
                elif is_image_name(name):
                    status = entry.stat()
                    odd = None if entry.is_file() else "not a regular file"
                    files.append(File(name, name, status.st_size, status.st_mtime_ns, odd))
            except OSError as error:  # a link to nowhere, or to itself
                if is_image_name(name):
                    files.append(File(name, name, 0, 0, error.strerror))
        folders.sort(reverse=True)
    return sorted(files)


def list_archive(path: Path) -> list[File]:
    """Image files in the .zip at ``path``, sorted by name. Nothing is unpacked, so no name can escape."""
    try:
        members = _archive(path, path.stat().st_mtime_ns).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path} is not a readable .zip: {error}") from None
    files = []
    for number, member in enumerate(members):
        parts = member.filename.replace("\\", "/").split("/")
        name = "/".join(part for part in parts if part not in ("", ".", ".."))
        if not member.is_dir() and is_image_name(name) and "__MACOSX" not in name.split("/"):
            locked = "encrypted" if member.flag_bits & 1 else None
            files.append(File(name, number, member.file_size, member.CRC, locked))
    if files and all(file.error for file in files):
        raise UserError(f"{path} is encrypted; unpack it with its password and give the folder")
    return sorted(files)


def label_by_folder(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels int64 (N,) and their names, from the first-level folders of ``names``; (None, ()) without."""
    paths = [name.split("/") for name in names]
    depth = len(os.path.commonprefix([parts[:-1] for parts in paths]))
    tops = [parts[depth] if len(parts) > depth + 1 else None for parts in paths]
    if None in tops:
        return None, ()
    classes = sorted(set(tops))
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[top] for top in tops]), tuple(printable(name) for name in classes)


def guess_channels(path: Path, files: list[File]) -> int:
    """1 if every file looked at is gray, else 3."""
    gray = None
    for i in np.unique(np.linspace(0, len(files) - 1, LOOKED_AT).astype(int)):
        try:
            gray = is_gray(read_file(path, files[i]))
        except Exception:  # it will be named when it is decoded
            continue
        if not gray:
            return 3
    return 1 if gray else 3


def is_image_name(name: str) -> bool:
    """By its extension; hidden files (macOS leaves ._name.jpg beside name.jpg) are none."""
    base = name.rsplit("/", 1)[-1]
    return not base.startswith(".") and os.path.splitext(base)[1].lower() in EXTENSIONS


def printable(text: str) -> str:
    """One line that any terminal and any JSON file can take."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


@lru_cache(maxsize=1)
def _archive(path: Path, stamp: int) -> zipfile.ZipFile:
    """Kept open: to read the directory of 50,000 members takes longer than to decode a hundred of them."""
    return zipfile.ZipFile(path)
