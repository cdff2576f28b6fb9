"""Images that come one after another: tar archives, webdataset shards and parquet files.

They are read in the order in which they lie, since a compressed archive cannot be opened in its middle, and
twice: first names and labels, then the pictures. Nothing is unpacked to the disk, and memory holds a few jobs
of at most ``JOB`` bytes and one picture more.
"""

import gzip
import itertools
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gan_ref.data.arrays import LABELS
from gan_ref.data.cache import Rows, file_identity, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.data.folder import (
    CHUNK,
    IN_PROCESS,
    File,
    clean_name,
    decode_files,
    guess_channels,
    is_image_name,
    label_by_folder,
    no_image,
)
from gan_ref.data.workers import UNIT, available_cores, in_order
from gan_ref.errors import UserError, printable
from gan_ref.files import read_untrusted
from gan_ref.shapes import sides

JOB = 8 << 20  # bytes of pictures after which a job is full
UNPACKED, RATIO = 4 << 30, 50  # an archive may hold this much, or this many times its own size
MAX_ROWS = 50_000_000
PATTERN = re.compile(r"(.*)\{(\d+)\.\.(\d+)\}(.*)")
ENDINGS = (".tar", ".tar.gz", ".tgz", ".parquet")


class Survey(NamedTuple):
    """What the first reading tells. ``values`` has a label, text or number, for each picture in order."""

    values: list[Any]  # None where a picture has none; [] if none has one
    left_out: list[str]
    classes: tuple[str, ...] = ()  # the names of labels 0, 1, …; (): those that values hold


def expand(path: Path) -> list[Path]:
    """x-{000000..000009}.tar → ten paths; any other path → itself. UserError if one is not there."""
    match = PATTERN.fullmatch(path.name)
    if match is None or os.path.exists(path):
        return [path]
    before, first, last, after = match.groups()
    found = []
    for number in range(int(first[:18]), int(last[:18]) + 1):
        found.append(path.with_name(f"{before}{number:0{len(first)}}{after}"))
        if not os.path.isfile(found[-1]):
            raise UserError(f"no file {found[-1]}, which {path.name} names")
    if not found:
        raise UserError(f"{path.name}: {first}..{last} counts downwards")
    return found


def shards_in(folder: Path) -> dict[str, list[Path]]:
    """The archives and parquet files in ``folder``, or in data/ in it, as on the Hugging Face hub, by split.

    Those whose names begin with "test" (or, without any, "val") are the test split, if others are there.
    """
    for place in (folder, folder / "data"):
        names = sorted(os.listdir(place)) if os.path.isdir(place) and os.access(place, os.R_OK) else []
        names = [name for name in names if name.lower().endswith(ENDINGS) and name[0] != "."]
        test, validation = ([n for n in names if n.lower().startswith(word)] for word in ("test", "val"))
        train = [name for name in names if name not in test + validation]
        if names:
            splits = {"train": train or names, "test": (test or validation) if train else []}
            return {split: [place / name for name in chosen] for split, chosen in splits.items()}
    return {}


def stream_dataset(
    path: Path, options: Options, shards: list[Path] | None = None, known: Mapping[str, int] = {}
) -> Dataset:
    """The images in ``shards`` (None: what ``path`` says), all archives or all parquet, through the cache.

    ``known`` has the labels of an archive's pictures by their names without an ending, if it has none itself.
    """
    shards = shards or expand(path)
    parquet = [shard for shard in shards if shard.name.lower().endswith(".parquet")]
    if parquet and len(parquet) < len(shards):
        raise UserError(f"{path}: both archives and parquet files in it; give one of them")
    survey, read = (survey_parquet, parquet_pictures) if parquet else (survey_tars, tar_pictures)

    def rows() -> Iterator[Rows]:
        values, left_out, classes = survey_tars(shards, known) if known else survey(shards)
        pictures = read(shards)
        first = list(itertools.islice(pictures, IN_PROCESS))
        if not first:
            raise no_image(path, left_out)
        channels = options.channels or guess_channels(path, first)
        labels, classes = number(values, classes) if values else (None, ())
        processes = 1 if len(first) < IN_PROCESS else options.workers or available_cores()
        work = partial(decode_files, path, options.image_size, channels)
        yield from in_order(work, in_jobs(itertools.chain(first, pictures), labels), processes)
        yield Rows(np.empty((0, *sides(options.image_size), channels), np.uint8), {}, left_out, classes)

    identity = [*map(file_identity, shards), *known.items()]
    return replace(open_or_build(path.resolve().name, identity, options, rows), flip=True)


def number(values: list[Any], names: tuple[str, ...]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int64 (N,), −1 where there is none, and the classes: ``names``, or else the values in order."""
    if names:
        known: dict[Any, int] = {k: k for k in range(len(names))}
        if any(isinstance(value, str) for value in values):
            known = {name: k for k, name in enumerate(names)}
    else:
        found = {value for value in values if value is not None}
        texts = any(isinstance(value, str) for value in found)
        ordered = sorted(found, key=str) if texts else sorted(found)
        known, names = {value: k for k, value in enumerate(ordered)}, tuple(map(str, ordered))
    return np.array([known.get(value, -1) for value in values], np.int64), tuple(map(printable, names))


def in_jobs(files: Iterator[File], labels: np.ndarray | None) -> Iterator[tuple[list[File], Any]]:
    """Jobs for decode_files: a few pictures and their labels. One without a label is not a picture."""
    job: list[File] = []
    start = held = 0
    for file in files:
        job.append(file)
        held += file.size
        if len(job) == CHUNK or held > JOB:
            yield job, None if labels is None else labels[start : start + len(job)]
            start, job, held = start + len(job), [], 0
    if job:
        yield job, None if labels is None else labels[start:]


# ---------------------------------------------------------------- tar


class Bounded:
    """A file for tarfile, which reads names and extended headers whole, whatever size they declare."""

    def __init__(self, file: Any):
        self.file, self.seek, self.tell, self.last = file, file.seek, file.tell, b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= UNIT + tarfile.BLOCKSIZE:
            raise ValueError(f"a part of it declares {size} bytes")
        self.last = self.file.read(size)
        return self.last


def open_tar(path: Path) -> tarfile.TarFile:
    """The archive at ``path``, compressed with gzip or not."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return tarfile.open(fileobj=Bounded(gzip.open(path) if packed else path.open("rb")), mode="r:")  # type: ignore


def members(path: Path, wanted: Callable[[str, Any], bool]) -> Iterator[tuple[str, Any, bytes]]:
    """(name, tarfile's TarInfo, content if it is ``wanted``) of each member. UserError if it is damaged."""
    what, advice = "a readable .tar", "download it again"
    archive: Any = read_untrusted(path, open_tar, what, advice)
    allowed, end = max(UNPACKED, RATIO * path.stat().st_size), 0

    def step(_: Path) -> tuple[str, Any, bytes] | None:
        nonlocal end
        member = archive.next()
        archive.members.clear()  # tarfile would keep them all
        if member is None:
            if any(archive.fileobj.last):
                raise ValueError(f"its header at byte {archive.offset} is damaged")
            archive.fileobj.file.read(UNIT)  # to the end, where gzip has its checksum
            return None
        if member.size < 0 or member.offset_data < end:
            raise ValueError("a member begins before the end of the one before")
        end = member.offset_data + member.size
        if end > allowed:
            raise ValueError(f"it unpacks to more than {allowed >> 30} GiB")
        name = clean_name(member.name)
        return name, member, archive.extractfile(member).read() if wanted(name, member) else b""

    with closing(archive.fileobj.file):
        while (found := read_untrusted(path, step, what, advice)) is not None:
            yield found


def is_picture(name: str, member: Any) -> bool:
    return is_image_name(name) and member.isreg() and not member.issparse() and member.size <= UNIT


def tar_pictures(paths: list[Path]) -> Iterator[File]:
    for path in paths:
        for name, member, content in members(path, is_picture):
            if is_picture(name, member):
                yield File(name, content, member.size, 0)


def survey_tars(paths: list[Path], known: Mapping[str, int] = {}) -> Survey:
    """Labels are ``known``, or in .cls or .json files called as their picture, or else the folders' names."""

    def is_label(name: str, member: Any) -> bool:
        return member.isreg() and name.endswith((".cls", ".json")) and member.size <= 1 << 20

    pictures: list[tuple[int, str]] = []
    labels: dict[tuple[int, str], Any] = {}
    left_out = []
    for shard, path in enumerate(paths):
        for name, member, content in members(path, is_label):
            if is_picture(name, member):
                pictures.append((shard, name))
            elif not (member.isreg() or member.isdir()):
                kind = "a link" if member.issym() or member.islnk() else "no regular file"
                left_out.append(f"{printable(name)}: {kind}")
            elif is_image_name(name) and member.isreg():
                left_out.append(f"{printable(name)}: {member.size} bytes, sparse or more than {UNIT}")
            elif is_label(name, member) and (value := read_label(name, content)) is not None:
                labels[shard, stem(name)] = value
    if known:
        return Survey([known.get(stem(name).split("/")[-1]) for _, name in pictures], left_out)
    if labels:
        return Survey([labels.get((shard, stem(name))) for shard, name in pictures], left_out)
    folders, classes = label_by_folder([name for _, name in pictures])
    return Survey([] if folders is None else folders.tolist(), left_out, classes)


def stem(name: str) -> str:
    """What the files of one sample have in common: the name up to the first dot after the last slash."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.split(".")[0]


def read_label(name: str, content: bytes) -> int | str | None:
    """The class in a .cls file, a number or a word, or in a .json file under "label" or "cls"."""
    try:
        value = content.decode().strip()
        if name.endswith(".json"):
            held = json.loads(value)
            value = next((held[key] for key in (*LABELS, "cls", "class") if key in held), None)
        elif re.fullmatch(r"-?\d{1,18}", value):
            value = int(value)
    except (ValueError, TypeError, RecursionError):
        return None
    return value if type(value) in (int, str) and len(str(value)) < 200 else None


# ---------------------------------------------------------------- parquet


def open_parquet(path: Path) -> Any:
    """pyarrow's ParquetFile, which is read a few rows at a time."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path} needs pyarrow: pip install 'gan-ref[parquet]'") from None
    return pyarrow.parquet.ParquetFile(path, buffer_size=1 << 20, pre_buffer=False)


def batches(path: Path, rows: int, column: Callable[[Any], str | None]) -> Iterator[list[Any]]:
    """A column's values as Python objects, ``rows`` at a time. ``column`` finds it in the file's schema."""
    what, advice = "a parquet file of images", "download it again"

    def begin(path: Path) -> Iterator[Any]:
        file = open_parquet(path)
        if file.metadata.num_rows > MAX_ROWS:
            raise ValueError(f"it declares {file.metadata.num_rows} rows, more than {MAX_ROWS}")
        name = column(file.schema_arrow)
        return iter(()) if name is None else file.iter_batches(rows, columns=[name], use_threads=False)

    def step(_: Path) -> list[Any] | None:
        batch = next(started, None)
        return None if batch is None else batch.column(0).to_pylist()

    started = read_untrusted(path, begin, what, advice)
    while (values := read_untrusted(path, step, what, advice)) is not None:
        yield values


def image_column(schema: Any) -> str:
    """The first column of images as the hub has them, struct {bytes, path}, or of bytes alone."""
    import pyarrow.types as kinds

    for field in schema:
        kind = field.type
        if kinds.is_struct(kind) and kind.get_field_index("bytes") >= 0:
            return field.name
    for field in schema:
        if kinds.is_binary(field.type) or kinds.is_large_binary(field.type):
            return field.name
    raise ValueError(f"no column of it holds images, {{bytes, path}}; it has {', '.join(schema.names)[:80]}")


def parquet_pictures(paths: list[Path]) -> Iterator[File]:
    for path in paths:
        count = 0
        for values in batches(path, 16, image_column):
            for value in values:
                held = value if isinstance(value, dict) else {"bytes": value}
                content, name = held.get("bytes"), held.get("path")
                count += 1
                content = content if isinstance(content, bytes) else b""
                yield File(f"{path.name} row {count} {name or ''}".strip(), content, len(content), 0)


def survey_parquet(paths: list[Path]) -> Survey:
    """Labels are in the column that the hub's metadata call a ClassLabel, with its names, or in "label"."""
    values, classes = [], ()

    def find(schema: Any) -> str | None:
        nonlocal classes
        name, classes = label_column(schema)
        return name

    for path in paths:
        for part in batches(path, 4096, find):
            values += [value if type(value) in (int, str) else None for value in part]
    return Survey(values, [], classes)


def label_column(schema: Any) -> tuple[str | None, tuple[str, ...]]:
    """(its name, the classes' names) as a hub's metadata say; (None, ()) if there is none."""
    held = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(held)["info"]["features"]
        for name, feature in features.items():
            if feature.get("_type") == "ClassLabel" and name in schema.names:
                return name, tuple(str(word) for word in feature["names"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return next((name for name in LABELS if name in schema.names), None), ()
