"""CIFAR-10's own files (Krizhevsky 2009): the binary batches, and the Python batches without running them.

Both hold 32×32 images as planes: 1024 reds, 1024 greens, 1024 blues. The Python batches are pickles, programs
that may do anything when loaded; here they are read by an interpreter that can only build lists, dicts, text,
numbers and arrays of bytes.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from gan_ref.data.cache import Rows, cached, file_identity
from gan_ref.data.dataset import Dataset
from gan_ref.data.decode import fit_arrays
from gan_ref.errors import UserError

PIXELS = 3 * 32 * 32
RECORD = 1 + PIXELS  # binary: a label, then the planes
MAX_BYTES = 256 << 20  # a batch of 10,000 has 31 MB
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def find_batches(folder: Path, split: str) -> list[Path]:
    """The batch files of a split, binary if there are any, else Python; [] if this is no CIFAR-10 folder."""
    stem = "data_batch_[0-9]*" if split == "train" else "test_batch"
    python = [path for path in sorted(folder.glob(stem)) if not path.suffix]
    return sorted(folder.glob(f"{stem}.bin")) or python


def holds_cifar(folder: Path) -> bool:
    return any(find_batches(folder, split) for split in ("train", "test"))


def cifar_dataset(
    folder: Path,
    size: int,
    channels: int | None,
    split: str,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> Dataset | None:
    """The images of the CIFAR-10 batches in ``folder``; None if it has none of this split."""
    batches = find_batches(folder, split)
    if not batches:
        return None

    def rows() -> Iterator[Rows]:
        for path in batches:
            images, labels = read_binary(path) if path.suffix == ".bin" else read_python(path)
            for i in range(0, len(images), 1024):
                part = slice(i, i + 1024)
                yield Rows(fit_arrays(images[part], size, channels or 3), {"labels": labels[part]})

    identity = [file_identity(path) for path in batches]
    name, shape = folder.resolve().name, (size, size, channels or 3)
    entry = cached(f"{name}-{split}", identity, shape, rows, 10_000 * len(batches), cache_dir, progress)
    return Dataset(name, entry.samples, entry.labels["labels"], CLASSES, flip=True)


def read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels int64 (N,) of a .bin batch."""
    if path.stat().st_size > MAX_BYTES or path.stat().st_size % RECORD or not path.stat().st_size:
        raise UserError(f"{path} is no CIFAR-10 batch: not a multiple of {RECORD} bytes; download it again")
    records = np.fromfile(path, np.uint8).reshape(-1, RECORD)
    return to_images(records[:, 1:]), check_labels(records[:, 0], path)


def read_python(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) and labels int64 (N,) of a Python batch, which is never unpickled."""
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is too large for a CIFAR-10 batch; download it again")
    batch = read_pickle(path)
    if not isinstance(batch, dict):
        raise UserError(f"{path} is not a CIFAR-10 batch; download it again")
    batch = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = batch.get("data"), batch.get("labels")
    data = data.array if isinstance(data, _Array) else None
    if data is None or data.ndim != 2 or data.shape[1] != PIXELS or not len(data):
        raise UserError(f"{path} has no array 'data' of unsigned bytes (N, {PIXELS}); download it again")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(k) is int for k in labels):
        raise UserError(f"{path} has no list 'labels' as long as its data; download it again")
    return to_images(data), check_labels(np.array(labels, dtype=object), path)


def to_images(planes: np.ndarray) -> np.ndarray:
    """(N, 3072) planes to (N, 32, 32, 3)."""
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def check_labels(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= len(CLASSES):
        raise UserError(f"{path} has labels beyond CIFAR-10's ten classes; download it again")
    return labels.astype(np.int64)


# A pickle is a program for a small stack machine. GLOBAL names something to import and REDUCE calls it, which
# is how a pickle can run anything. Here GLOBAL may name only what is in _KNOWN, and what it gets is ours.


class _Array:
    """Stands for numpy's array until BUILD tells its shape and bytes."""

    array: np.ndarray | None = None

    def build(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or dtype.name not in ("u1", "uint8", "|u1"):
            raise ValueError("an array of something other than unsigned bytes")
        if isinstance(data, str):
            data = data.encode("latin-1")
        self.array = np.frombuffer(data, np.uint8).reshape(shape, order="F" if fortran else "C")


class _Dtype:
    def __init__(self, name: str, *_: object):
        self.name = name

    def build(self, state: tuple) -> None:
        """Byte order and alignment: nothing, for bytes."""


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding.replace("-", "") != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin-1")


_NDARRAY = "ndarray"
_KNOWN: dict[str, Callable | str] = {
    "numpy ndarray": _NDARRAY,
    "numpy dtype": _Dtype,
    "_codecs encode": _encode,
    "numpy.core.multiarray _reconstruct": lambda *_: _Array(),
    "numpy._core.multiarray _reconstruct": lambda *_: _Array(),
}
_CALLABLE = tuple(value for value in _KNOWN.values() if value is not _NDARRAY)
_PUSH = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "SHORT_BINSTRING", "BINSTRING")
    + ("SHORT_BINUNICODE", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES")
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_pickle(path: Path) -> object:
    """The value of a pickle of plain data. Any other pickle is a UserError, and nothing of it has run."""
    try:
        return _interpret(path.read_bytes())
    except Exception as error:  # a malformed program fails anywhere: an empty stack, an unhashable key
        reason = " ".join(str(error).split()) or type(error).__name__
        plain = f"{path} is not a CIFAR-10 batch of plain data ({reason[:200]}); download it again"
        raise UserError(plain) from None


def _interpret(program: bytes) -> object:
    stack: list = []
    marks: list[int] = []
    memo: dict[int, object] = {}

    def since_mark() -> list:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for opcode, arg, _ in pickletools.genops(program):
        name = opcode.name
        if name in _PUSH:
            stack.append(arg)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            split = len(stack) - _TUPLES[name]
            stack[split:] = [tuple(stack[split:])]
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "APPEND":
            item = stack.pop()
            _expect(stack[-1], list).append(item)
        elif name == "APPENDS":
            items = since_mark()
            _expect(stack[-1], list).extend(items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _expect(stack[-1], dict)[key] = value
        elif name == "SETITEMS":
            items = since_mark()
            _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memo[arg] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memo[arg])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            if name == "STACK_GLOBAL":
                arg = " ".join(_expect(part, str) for part in (stack.pop(-2), stack.pop()))
            if arg not in _KNOWN:
                raise ValueError(f"it would run {arg.replace(' ', '.')}")
            stack.append(_KNOWN[arg])
        elif name == "REDUCE":
            arguments, function = _expect(stack.pop(), tuple), stack.pop()
            if function not in _CALLABLE:
                raise ValueError("it would call what is not a function")
            stack.append(function(*arguments))
        elif name == "BUILD":
            state = _expect(stack.pop(), tuple)
            _expect(stack[-1], (_Array, _Dtype)).build(state)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"it uses the instruction {name}")
    raise ValueError("it has no end")


def _expect(value: object, kind: type | tuple[type, ...]):
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where it cannot be")
    return value
