"""Image files in a folder, or in a .zip, which is read where it lies.

The extension decides what is an image; other files (notes, .DS_Store, film clips) are passed over.
Labels are the names of the first-level folders, after peeling off folders that hold everything. There are no
labels when images lie beside those folders or in one folder only.
"""

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np

from gan_ref.data.cache import NAMED, Rows, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.decode import EXTENSIONS, decode, is_gray
from gan_ref.data.workers import UNIT, available_cores, in_order, quiet
from gan_ref.errors import UserError, printable
from gan_ref.files import read_untrusted
from gan_ref.shapes import ImageSize, sides

CHUNK = 64  # files a job: 1.5 MB of result at 64×64
IN_PROCESS = 200  # with fewer files than this, starting processes takes longer than decoding
LOOKED_AT = 256  # headers read, evenly spread, to tell whether the data is gray
MAX_BYTES = 256 << 20


class File(NamedTuple):
    """An image file as listed, without looking inside."""

    name: str  # relative, with forward slashes
    member: str | int | bytes  # its path in the folder, its number in the archive, or its content
    size: int  # in an archive, what it would be when unpacked
    stamp: int  # mtime in ns; in an archive, the CRC


def folder_dataset(path: Path, options: Options) -> Dataset:
    """The images of a folder or .zip at ``path``, decoded once into the cache."""
    inside_folder = path.is_dir()
    files, left_out = list_folder(path, options.follow_links) if inside_folder else list_archive(path)
    name = path.resolve().name or "data"
    if not files:
        raise no_image(path, left_out)
    labels, classes = label_by_folder([file.name for file in files])
    channels = options.channels or guess_channels(path, files)
    options = replace(options, channels=channels)

    def rows() -> Iterator[Rows]:
        jobs = (
            (files[i : i + CHUNK], None if labels is None else labels[i : i + CHUNK])
            for i in range(0, len(files), CHUNK)
        )
        processes = 1 if len(files) < IN_PROCESS else options.workers or available_cores()
        return in_order(partial(decode_files, path, options.image_size, channels), jobs, processes)

    # An archive is known by its checksums wherever it lies; a folder's times are only good for that folder.
    place = str(path.resolve()) if inside_folder else "zip"
    identity = (place, *((file.name, file.size, file.stamp) for file in files))
    opened = open_or_build(name, identity, options, rows, len(files))
    skipped, count = (*left_out, *opened.skipped)[:NAMED], len(left_out) + opened.skipped_count
    return replace(opened, classes=classes, flip=True, skipped=skipped, skipped_count=count)


def no_image(path: Path, left_out: list[str]) -> UserError:
    why = f"; left out {left_out[0]}" if left_out else ""
    return UserError(f"{path}: no image in it; looked for {' '.join(sorted(EXTENSIONS))}{why}")


def decode_files(
    path: Path, size: ImageSize, channels: int, job: tuple[list[File], np.ndarray | None]
) -> Rows:
    """Decode a few files of ``path``; one that fails is named with its reason and left out."""
    files, labels = job
    images, kept, skipped = [], [], []
    with quiet():
        for i, file in enumerate(files):
            try:
                if labels is not None and labels[i] < 0:
                    raise ValueError("it has no label, and others have one")
                with open_file(path, file) as stream:
                    images.append(decode(stream, size, channels))
                kept.append(i)
            except Exception as error:  # a decoder fails in as many ways as there are broken files
                skipped.append(f"{printable(file.name)}: {printable(error) or type(error).__name__}")
    samples = np.stack(images) if images else np.empty((0, *sides(size), channels), np.uint8)
    return Rows(samples, {} if labels is None else {"labels": labels[kept]}, skipped)


@contextmanager
def open_file(path: Path, file: File) -> Iterator[BinaryIO]:
    """The file, open for reading, in the folder or the archive at ``path``."""
    if file.size > MAX_BYTES:
        raise ValueError(f"{file.size} bytes, more than {MAX_BYTES}")
    if isinstance(file.member, str):
        with open(path / file.member, "rb") as stream:
            yield stream
    elif isinstance(file.member, bytes):
        yield io.BytesIO(file.member)
    else:
        archive = _archive(path, path.stat().st_mtime_ns)
        with archive.open(archive.infolist()[file.member]) as stream:
            # A small member is faster in memory; a large one would not leave enough of it.
            yield io.BytesIO(stream.read()) if file.size <= UNIT else cast(BinaryIO, stream)


def list_folder(root: Path, follow_links: bool) -> tuple[list[File], list[str]]:
    """Image files under ``root``, sorted by name, and "file: reason" for what is left out.

    Links that lead out of ``root`` are followed only if ``follow_links``; no folder is entered twice.
    """
    home = os.path.realpath(root)
    files, left_out, entered = [], [], {home}

    def leave_out(path: str, reason: str | None) -> None:
        left_out.append(f"{printable(os.path.relpath(path, root))}: {reason}")

    def is_inside(path: str) -> bool:
        if follow_links or not os.path.islink(path) or Path(os.path.realpath(path)).is_relative_to(home):
            return True
        leave_out(path, "a link out of the folder; --follow-links follows it")
        return False

    def unreadable(error: OSError) -> None:
        leave_out(error.filename, f"cannot read the folder: {error.strerror}")

    for parent, folders, names in os.walk(root, onerror=unreadable, followlinks=True):
        folders.sort()
        for name in folders.copy():
            path = os.path.join(parent, name)
            if not is_inside(path) or os.path.realpath(path) in entered:
                folders.remove(name)
            entered.add(os.path.realpath(path))
        for path in (os.path.join(parent, name) for name in names if is_image_name(name)):
            try:
                status = os.stat(path)
                if not stat.S_ISREG(status.st_mode):
                    leave_out(path, "not a regular file")
                elif is_inside(path):
                    name = Path(path).relative_to(root).as_posix()
                    files.append(File(name, name, status.st_size, status.st_mtime_ns))
            except OSError as error:  # a link to nowhere, or to itself
                leave_out(path, error.strerror)
    return sorted(files), sorted(left_out)


def list_archive(path: Path) -> tuple[list[File], list[str]]:
    """The same for the .zip at ``path``. Nothing is unpacked, so no name can escape."""

    def load(path: Path) -> list[zipfile.ZipInfo]:
        return _archive(path, path.stat().st_mtime_ns).infolist()

    files, left_out = [], []
    for number, member in enumerate(read_untrusted(path, load, "a readable .zip")):
        name = clean_name(member.filename)
        if member.filename[-1:] not in ("", "/", "\\") and is_image_name(name):
            if member.flag_bits & 1:
                left_out.append(f"{printable(name)}: encrypted")
            else:
                files.append(File(name, number, member.file_size, member.CRC))
    if left_out and not files:
        raise UserError(f"{path} is encrypted; unpack it with its password and give the folder")
    return sorted(files), sorted(left_out)


def label_by_folder(names: list[str]) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Labels int64 (N,) and their names, from the first-level folders of ``names``; (None, ()) without."""
    paths = [name.split("/") for name in names]
    depth = len(os.path.commonprefix([parts[:-1] for parts in paths]))
    tops = [parts[depth] if len(parts) > depth + 1 else "" for parts in paths]
    if "" in tops:
        return None, ()
    classes = sorted(set(tops))
    number = {name: k for k, name in enumerate(classes)}
    return np.array([number[top] for top in tops]), tuple(printable(name) for name in classes)


def guess_channels(path: Path, files: list[File]) -> int:
    """1 if every file looked at is gray, else 3."""
    gray = 0
    with quiet():
        for i in np.unique(np.linspace(0, len(files) - 1, LOOKED_AT).astype(int)):
            try:
                with open_file(path, files[i]) as stream:
                    if not is_gray(stream):
                        return 3
                gray += 1
            except Exception:  # it will be named when it is decoded
                continue
    return 1 if gray else 3


def clean_name(name: str) -> str:
    """A member's name as a relative path without steps upwards. Nothing is ever written there."""
    return "/".join(part for part in name.replace("\\", "/").split("/") if part not in ("", ".", ".."))


def is_image_name(name: str) -> bool:
    """Whether it ends as an image's does. macOS leaves a hidden ._name.jpg, and __MACOSX/ in an archive."""
    base = name.rsplit("/", 1)[-1]
    hidden = base.startswith(".") or "__MACOSX" in name.split("/")
    return not hidden and os.path.splitext(base)[1].lower() in EXTENSIONS


@lru_cache(maxsize=1)
def _archive(path: Path, stamp: int) -> zipfile.ZipFile:
    """Kept open: to read the directory of 50,000 members takes longer than to decode a hundred of them."""
    return zipfile.ZipFile(path)
