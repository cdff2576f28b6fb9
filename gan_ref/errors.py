"""What a person at the keyboard is told when something is wrong: one line, exit status 2, no traceback."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class UserError(Exception):
    """A mistake that the user can mend. The message is one line: what is wrong, where, and what to do."""


def _help_formatter(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=34, width=110)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose complaint is one line like any other, and who guesses at no shortened flag."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False, "formatter_class": _help_formatter, **options})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help shows how")


def command(main: Callable[[Sequence[str] | None], int | None]) -> Callable[[Sequence[str] | None], int]:
    """Make ``main(argv)`` a well-behaved command.

    A UserError becomes one line on standard error and status 2; a full disk or a forbidden path does too.
    Ctrl-C ends with status 130 and a closed pipe (``| head``) with status 1, both without a traceback.
    """

    @functools.wraps(main)
    def run(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv) or 0
        except UserError as error:
            return _complain(str(error))
        except BrokenPipeError:
            sys.stderr.close()
            return 1
        except OSError as error:
            where = f": {error.filename}" if error.filename else ""
            return _complain(f"{error.strerror or error}{where}")
        except KeyboardInterrupt:
            print("\ninterrupted", file=sys.stderr)
            return 130

    return run


def _complain(message: str) -> int:
    print("error: " + " ".join(message.split()), file=sys.stderr)
    return 2
