"""The command ``film RUN``: what the same z became while a run trained, as a movie of its sample pages."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from gan_ref.commands.command_line import Parser, command, output_file, require_range
from gan_ref.errors import UserError
from gan_ref.pictures.movies import SUFFIXES, frame_rate
from gan_ref.watch.film import pages_of, write_film


def render(
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    frames: int = 240,
    fps: float = 10,
    scale: int = 1,
) -> str:
    """Write the film of the run in ``folder``, film.mp4 in it unless given, and return a line about it.

    Raises UserError for a folder without pages, or for values that make no film.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: give the folder of a run")
    out = output_file(out or folder / "film.mp4", SUFFIXES)
    require_range("--frames", frames, 2, 100_000)
    require_range("--fps", fps, 1, 120)
    require_range("--scale", scale, 1, 64)
    found, captions = pages_of(folder, frames)
    write_film(out, found, fps, scale, captions)
    rate = float(frame_rate(out, fps))
    return f"{out}: {len(found)} pages, step {found[0][0]:,} to {found[-1][0]:,}, at {rate:.4g} a second"


def arguments() -> Parser:
    """The flags; one that is not given is left out, so that ``render`` has the only defaults."""
    description = "Make a movie of a run's pages: the same z, over the run."
    parser = Parser(prog="gan-ref film", description=description, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("folder", metavar="RUN", help="a run folder")
    add("--out", metavar="FILE", help=f"the movie, a file that ends in {', '.join(SUFFIXES)} [RUN/film.mp4]")
    add("--frames", type=int, metavar="N", help="the most pages to show, evenly chosen [240]")
    add("--fps", type=float, metavar="N", help="pages a second [10]")
    add("--scale", type=int, metavar="K", help="every pixel becomes KxK equal ones [1]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    print(render(**vars(arguments().parse_args(argv))))
