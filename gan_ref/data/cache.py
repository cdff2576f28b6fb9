"""Decode once: samples as uint8 in a memory-mapped file, so that every later run opens them at once.

An entry is a folder of two files, named after a hash of the source's identity and the image settings:

    samples.npy   uint8 (N, H, W, C)
    labels.npz    int64 (N,) each: "labels", and a source's factors; the names of skipped files, their number;
                  the names of the classes, if only a reading of the whole source tells them

It is built under a temporary name and renamed when it is whole, so nobody reads half of one. A lock lets one
process build it while others wait, and the next build of an entry overwrites what a killed one left.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from tqdm import tqdm

from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.workers import available_cores as available_cores
from gan_ref.errors import PassingTrouble, UserError
from gan_ref.files import cache_folder, lock, read_untrusted

FORMAT = 2  # raise it when the same source and settings would give other pixels or other files
NAMED = 20  # how many skipped files are named; all are counted


@dataclass
class Rows:
    """Consecutive samples on their way into the cache, and the files among them that could not be decoded."""

    samples: np.ndarray  # uint8 (n, H, W, C)
    labels: dict[str, np.ndarray] = field(default_factory=dict)  # int64 (n,): "labels", and factors
    skipped: list[str] = field(default_factory=list)
    classes: tuple[str, ...] = ()  # of all, if these rows know them


def open_or_build(
    name: str,
    identity: Iterable[object],
    options: Options,
    rows: Callable[[], Iterable[Rows]],
    total: int | None = None,
) -> Dataset:
    """Open the entry of ``identity`` at the options' size and channels; build it from ``rows()`` if need be.

    ``total`` is the number of samples to expect, for the progress bar. Memory does not grow with it: rows are
    written as they come. Raises UserError if the cache cannot be written or no sample is left.
    """
    digest = hashlib.sha256(repr((FORMAT, options.image_size, options.channels)).encode())
    for part in identity:
        digest.update(repr(part).encode("utf-8", "surrogateescape"))
    slug = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")[:40]
    folder = cache_folder()
    path = folder / f"{slug}-{options.image_size}px-{digest.hexdigest()[:20]}"

    opened = _open(path, name)
    if opened is None:
        try:
            with lock(folder / f".{path.name}.lock"):
                opened = _open(path, name)  # another process may have built it in the meantime
                if opened is None:
                    _build(path, name, rows, total)
                    opened = _open(path, name)
        except OSError as error:
            raise PassingTrouble(
                f"cannot write the cache in {folder}: {error.strerror or error}; "
                "free some space there, or set GAN_REF_CACHE to a folder that can be written"
            ) from None
    if opened is None:
        raise UserError(f"the cache entry {path} cannot be read back; delete it and try again")
    return opened


def file_identity(path: Path) -> tuple[str, int, int]:
    """Path, size and time of a file, which tell one from another without reading it."""
    status = read_untrusted(path, Path.stat, "a file")
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def _open(path: Path, name: str) -> Dataset | None:
    """The entry at ``path``, or None if it is missing or damaged."""
    try:
        samples = np.load(path / "samples.npy", mmap_mode="r", allow_pickle=False)
        with np.load(path / "labels.npz", allow_pickle=False) as stored:
            factors = {key: stored[key] for key in stored.files}
        skipped, count = tuple(factors.pop("skipped").tolist()), int(factors.pop("skipped_count"))
        classes = tuple(factors.pop("classes", np.array([], str)).tolist())
        if samples.ndim != 4 or any(len(values) != len(samples) for values in factors.values()):
            return None
        labels = factors.pop("labels", None)
        return Dataset(name, samples, labels, classes, skipped=skipped, skipped_count=count, factors=factors)
    except Exception:  # whatever the damage, the entry is built again
        return None


def _build(path: Path, name: str, rows: Callable, total: int | None) -> None:
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    labels: dict[str, list[np.ndarray]] = {}
    skipped: list[str] = []
    classes: tuple[str, ...] = ()
    count = 0
    try:
        bar = tqdm(total=total, desc=f"preparing {name}", unit="img", disable=None)
        with bar, (part / "samples.npy").open("wb") as file:
            for chunk in rows():
                if not file.tell():
                    _write_header(file, 0, chunk.samples)
                file.write(np.ascontiguousarray(chunk.samples).data)
                for key, values in chunk.labels.items():
                    labels.setdefault(key, []).append(values)
                skipped += chunk.skipped
                classes = chunk.classes or classes
                count += len(chunk.samples)
                bar.update(len(chunk.samples) + len(chunk.skipped))
            if not count:
                named = "; ".join(skipped[:3])
                raise UserError(f"{name}: none of {len(skipped)} files could be decoded: {named}")
            file.seek(0)
            _write_header(file, count, chunk.samples)  # as long as before: numpy leaves room for N to grow
            file.flush()
            os.fsync(file.fileno())
        whole: dict[str, Any] = {key: np.concatenate(parts) for key, parts in labels.items()}
        whole |= {"skipped": np.array(skipped[:NAMED], str), "skipped_count": np.array(len(skipped))}
        if classes:
            whole["classes"] = np.array(classes, str)
        np.savez(part / "labels.npz", **whole)
        shutil.rmtree(path, ignore_errors=True)  # a damaged one
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_header(file: BinaryIO, count: int, samples: np.ndarray) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *samples.shape[1:])}
    np.lib.format.write_array_header_1_0(file, header)
