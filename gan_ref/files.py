"""Files: written whole or not at all, locked, cached, and read without trust. Nothing else here does any of
these.

    write_atomically     a file appears under its name when it is complete
    lock                 one process at a time
    cache_folder         where decoded data, built kernels and trained classifiers are kept
    read_untrusted       a value from a file that may be damaged or hostile, or one line
    read_tensors         the same for what torch.save wrote: no code in it runs
"""

import contextlib
import os
import pickle
import stat
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from gan_ref.errors import PassingTrouble, UserError, printable

T = TypeVar("T")


@contextlib.contextmanager
def write_atomically(path: str | os.PathLike[str], durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside ``path``, and rename it to ``path`` when the block ends without an error.

    A crash leaves the old file as it was. The temporary name is the same each time, so what a killed process
    left is overwritten by the next. A link is written through. ``durable`` flushes the file and its folder to
    the disk, so that the rename survives a power cut.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
        if durable:
            _flush(part)
        os.replace(part, path)
        if durable and os.name == "posix":
            _flush(path.parent)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def lock(path: Path, wait: bool = True, message: str = "") -> Iterator[None]:
    """Hold the lock file ``path``; a process that dies lets go of it.

    Raises PassingTrouble(message) if another process holds it and ``wait`` is False.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path, timeout=-1 if wait else 0)
    try:
        held.acquire()
    except Timeout:
        raise PassingTrouble(message) from None
    try:
        yield
    finally:
        held.release()


def cache_folder() -> Path:
    """$GAN_REF_CACHE, else $XDG_CACHE_HOME/gan_ref, else ~/.cache/gan_ref."""
    try:
        if given := os.environ.get("GAN_REF_CACHE"):
            return Path(given).expanduser()
        base = os.environ.get("XDG_CACHE_HOME")
        return (Path(base) if base else Path.home() / ".cache") / "gan_ref"
    except RuntimeError as error:  # there is no such home directory
        todo = "set GAN_REF_CACHE to a folder that can be written"
        raise UserError(f"no cache folder: {error}; {todo}") from None


def read_untrusted(path: str | os.PathLike[str], load: Callable[[Path], T], what: str, advice: str = "") -> T:
    """``load(path)`` of a file that may be damaged, of another kind, or made to do harm.

    Whatever ``load`` raises becomes one line: "PATH is not WHAT: REASON; ADVICE". Only a regular file is
    opened, since a pipe would be waited for without end.
    """
    path, todo = Path(path), f"; {advice}" if advice else ""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path} is not a regular file")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they speak of the file's contents, as the line below does
            return load(path)
    except UserError:
        raise
    except Exception as error:  # a parser fails in as many ways as there are damaged files
        if isinstance(error, (FileNotFoundError, PermissionError)):
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        reason = printable(error)[:200] or type(error).__name__
        raise UserError(f"{path} is not {what}: {reason}{todo}") from error


def read_tensors(path: str | os.PathLike[str], what: str, advice: str = "") -> Any:
    """What torch.save wrote to ``path``, on the CPU: tensors, numbers, text, lists and dicts.

    Raises UserError for a file that is damaged, or that would run code: nothing in it is executed.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    def load(path: Path) -> Any:
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # torch's own words recommend to load it all the same
            raise ValueError("it holds something other than tensors, numbers and text") from None
        # A damaged file can hang any object on a tensor in place of its hooks. A detached one has none.
        return tree_map_only(torch.Tensor, torch.Tensor.detach, held)

    return read_untrusted(path, load, what, advice)
