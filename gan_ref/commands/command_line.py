"""What all commands share: their parser, their one-line errors, and the checks of common flags."""

import argparse
import contextlib
import functools
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol, TextIO

from gan_ref.errors import PassingTrouble, UserError, printable

Main = Callable[[Sequence[str] | None], int | None]

MISTAKES = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)
TOO_LARGE = "there is not enough memory for this; lower --width, --batch-size, --image-size or --grid"
LONGEST = 240  # bytes of a name: file systems take 255, and temporary names are a little longer


class Command(Protocol):
    def __call__(self, argv: Sequence[str] | None = None) -> int: ...


def _formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=34, width=110)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaint is one line, and which does not guess at shortened flags."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": _formatter, **options})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help shows how")


def command(main: Main) -> Command:
    """Make ``main(argv)`` a well-behaved command that returns its exit status.

    A UserError becomes one line on standard error and status 2, and so does a forbidden path. A full disk, or
    another trouble that may pass, or a lack of memory, has status 3. Ctrl-C ends with status 130 and a
    closed pipe (``| head``) with status 1, both without a traceback. Output that the terminal cannot show is
    written with replacement characters, and what is written to a closed stream goes nowhere.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:  # closed; this also takes its number, which the next file would get
                setattr(sys, name, open(os.devnull, "w"))
            elif isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # since the program began: see train.py
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return main(argv) or 0
        except UserError as error:
            return _complain(error, error.status)
        except BrokenPipeError:
            silence(sys.stdout)
            return 1
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            mistake = isinstance(error, MISTAKES)
            return _complain(f"{error.strerror or error}{where}", 2 if mistake else PassingTrouble.status)
        except MemoryError:
            return _complain(TOO_LARGE, PassingTrouble.status)
        except RuntimeError as error:
            if not re.search("(allocate|not enough|out of) memory", str(error)):
                raise
            return _complain(TOO_LARGE, PassingTrouble.status)
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                print("\ninterrupted", file=sys.stderr)
            return 130

    return run


def _complain(message: object, status: int) -> int:
    with contextlib.suppress(OSError):  # nobody may be listening
        print(f"error: {printable(message)}", file=sys.stderr, flush=True)
    return status


def silence(stream: TextIO) -> None:
    """Let all that is still written to ``stream`` go nowhere, what it holds back at the end included."""
    with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


class Lasting:
    """A stream that takes all text and is silent once nobody reads it: a long run outlives ``| head``."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._surviving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._surviving():
            self._stream.flush()

    @contextlib.contextmanager
    def _surviving(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            silence(self._stream)


def require_range(option: str, value: float | Sequence[float], low: float, high: float) -> None:
    """Raise UserError unless low ≤ value ≤ high, for each if there are several."""
    for one in value if isinstance(value, Sequence) else (value,):
        if not low <= one <= high:
            raise UserError(f"{option} must be from {low} to {high}, not {one}")


def integers(text: str) -> tuple[int, ...]:
    """'25,50,75' → (25, 50, 75), as the type of a flag."""
    try:
        return tuple(int(i) for i in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"whole numbers, as in 25,50,75; not {text!r}") from None


def require_names(out: str | os.PathLike[str]) -> Path:
    """``out`` as a Path; raises UserError if a name in it is longer than file systems take."""
    path = Path(out)
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST or len(os.fsencode(path)) > 16 * LONGEST:
        raise UserError(f"--out {path.name[:40]}…: the name is too long; names have at most {LONGEST} bytes")
    return path


def output_file(out: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The path to write; raises UserError, before any work is done, for one that cannot be written."""
    path = require_names(out)
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file")
    existing = next((p for p in path.absolute().parents if p.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{path}: cannot write in {existing}")
    return path
