"""Decode once: samples as uint8 in a memory-mapped file, so that every later run opens them at once.

An entry is a folder of three files, named after a hash of the source's identity and the image settings:

    samples.npy   uint8 (N, H, W, C)
    labels.npz    int64 (N,) each: "labels", and a source's factors
    skipped.json  what could not be decoded

It is written under a temporary name and renamed when whole, so a reader never sees half of one, two processes
that build the same entry do no harm, and a killed one leaves a temporary folder that a later build removes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gan_ref.errors import UserError

FORMAT = 1  # raise it when the same source and settings would give other pixels
NAMED = 20  # how many skipped files are named; all are counted
STALE = 3600.0  # seconds after its last write at which a temporary folder is surely nobody's


@dataclass
class Rows:
    """Consecutive samples on their way into the cache, and the files among them that could not be decoded."""

    samples: np.ndarray  # uint8 (n, H, W, C)
    labels: dict[str, np.ndarray] = field(default_factory=dict)  # int64 (n,) each
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Entry:
    """A whole cache entry: what every source of images becomes."""

    samples: np.ndarray
    labels: dict[str, np.ndarray]
    skipped: tuple[str, ...]
    skipped_count: int


def cached(
    name: str,
    identity: Iterable[object],
    shape: tuple[int, int, int],
    rows: Callable[[], Iterable[Rows]],
    total: int,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Entry:
    """Open the entry of ``identity`` at ``shape`` = (H, W, C), built from ``rows()`` if it is not there.

    ``total`` is the number of samples to expect, for the progress bar. Memory does not grow with it: rows are
    written as they come. Raises UserError if the cache cannot be written or no sample is left.
    """
    folder = cache_dir or default_directory()
    digest = hashlib.sha256(repr((FORMAT, shape)).encode())
    for part in identity:
        digest.update(repr(part).encode("utf-8", "surrogateescape"))
    slug = re.sub(r"\W+", "-", name, flags=re.ASCII).strip("-")[:40]
    path = folder / f"{slug}-{'x'.join(map(str, shape))}-{digest.hexdigest()[:20]}"

    entry = _load(path)
    if entry is None:
        _build(path, name, shape, rows, total, progress)
        entry = _load(path)
        if entry is None:
            raise UserError(f"the cache entry {path} cannot be read back; delete it and try again")
    return entry


def file_identity(path: Path) -> tuple[str, int, int]:
    """Place, size and time of a file: what tells one from another without reading it."""
    status = path.stat()
    return str(path.resolve()), status.st_size, status.st_mtime_ns


def default_directory() -> Path:
    """$GAN_REF_CACHE, else $XDG_CACHE_HOME/gan_ref, else ~/.cache/gan_ref."""
    if given := os.environ.get("GAN_REF_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "gan_ref"


def in_order(work: Callable[[Any], Rows], jobs: Iterable[Any], workers: int) -> Iterator[Rows]:
    """Yield ``work(job)`` for each job in order, done by ``workers`` processes (1: by this one).

    Only a few jobs are ever under way, so a slow disk does not pile up results.
    """
    if workers == 1:
        yield from map(work, jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    with _without_main(), ProcessPoolExecutor(workers, spawn, _start_worker) as pool:
        pending: deque = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(work, job))
                if len(pending) > 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise UserError("a decoding process died (killed for lack of memory?); try again") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when it does, even by kill -9: an orphan would wait for ever."""

    def follow_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=follow_parent, daemon=True).start()


def available_cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _load(path: Path) -> Entry | None:
    """The entry at ``path``, or None if it is missing or damaged."""
    try:
        samples = np.load(path / "samples.npy", mmap_mode="r", allow_pickle=False)
        with np.load(path / "labels.npz", allow_pickle=False) as stored:
            labels = {key: stored[key] for key in stored.files}
        left_out = json.loads((path / "skipped.json").read_text("utf-8"))
        whole = len(samples) > 0 and all(len(values) == len(samples) for values in labels.values())
        return Entry(samples, labels, tuple(left_out["named"]), left_out["count"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _build(path: Path, name: str, shape: tuple, rows: Callable, total: int, progress: bool) -> None:
    with _writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        if path.exists() and _load(path) is None:  # damaged; not one that another process finished just now
            shutil.rmtree(path, ignore_errors=True)
        temporary = Path(tempfile.mkdtemp(prefix="building-", dir=path.parent))
    try:
        labels: dict[str, list[np.ndarray]] = {}
        named: list[str] = []
        count = skipped = 0
        bar = tqdm(total=total, desc=f"preparing {name}", unit="img", disable=None if progress else True)
        with bar, (temporary / "samples.npy").open("wb") as file:
            file.write(_npy_header(0, shape))
            for chunk in rows():
                with _writing(path.parent):
                    file.write(np.ascontiguousarray(chunk.samples))
                for key, values in chunk.labels.items():
                    labels.setdefault(key, []).append(values)
                named += chunk.skipped[: NAMED - len(named)]
                skipped += len(chunk.skipped)
                count += len(chunk.samples)
                bar.update(len(chunk.samples) + len(chunk.skipped))
            if not count:
                raise UserError(f"{name}: none of {skipped} files could be decoded: " + "; ".join(named[:3]))
            with _writing(path.parent):
                file.seek(0)
                file.write(_npy_header(count, shape))
                file.flush()
                os.fsync(file.fileno())
        with _writing(path.parent):
            whole = {key: np.concatenate(parts) for key, parts in labels.items()}
            np.savez(temporary / "labels.npz", **whole)
            (temporary / "skipped.json").write_text(json.dumps({"named": named, "count": skipped}), "utf-8")
        try:
            temporary.rename(path)
        except OSError:  # another process was first, and its entry is as good
            if not path.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _npy_header(count: int, shape: tuple) -> bytes:
    """The header of a .npy file, always 128 bytes, so that the true count can be written over it later."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": (count, *shape)})
    return b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.ljust(117).encode() + b"\n"


def _remove_stale(folder: Path) -> None:
    for left in folder.glob("building-*"):
        try:
            newest = max(item.stat().st_mtime for item in (left, *left.iterdir()))
        except OSError:
            continue
        if time.time() - newest > STALE:
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write the cache in {folder}: {error.strerror or error}; "
            "free some space there, or set GAN_REF_CACHE to a folder that can be written"
        ) from None


@contextmanager
def _without_main() -> Iterator[None]:
    """Start processes that do not import the program's main module.

    multiprocessing has every spawned process import it first, and with it all of torch: 2 s and 200 MB each.
    The work here is found by its own module's name, so nothing in the main module is needed.
    """
    main = sys.modules["__main__"]
    hidden = {key: main.__dict__.pop(key) for key in ("__spec__", "__file__") if key in main.__dict__}
    main.__spec__ = None
    try:
        yield
    finally:
        main.__dict__.update(hidden)
