"""The command ``walk RUN --out walk.gif``: a movie of a walk through latent space."""

from __future__ import annotations

import argparse
import collections
import itertools
import math
import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref.checkpoint import load_generator
from gan_ref.commands.command_line import Parser, command, output_file, require_range
from gan_ref.data.mixtures import MIXTURES
from gan_ref.devices import DEVICES, HELP, choose_device
from gan_ref.errors import UserError
from gan_ref.latents import paths
from gan_ref.latents.classes import classes_in_turn, find_class, require_classes, walk_classes
from gan_ref.latents.samples import FinishedGenerator, stream_samples
from gan_ref.pictures import pages, plane
from gan_ref.pictures.movies import frame_rate, write_movie

TRAIL = 12  # frames that the trail of a point shows
MAX_SIDE = 4096  # pixels: the largest frame that phones decode
MAX_WALKS = 1024

Walk = Callable[[Tensor], Tensor]  # instants t (T,) → z (T, W, latent_dim)


def render(
    generator: FinishedGenerator,
    out: str | os.PathLike[str],
    path: str | None = None,
    frames: int = 240,
    fps: float = 25,
    grid: tuple[int, int] | None = None,
    keyframes: int | None = None,
    seed: int = 0,
    dimension: Sequence[int] = (),
    span: tuple[float, float] = (-3.0, 3.0),
    scale: int = 1,
    classes: Sequence[str] = (),
) -> str:
    """Write the movie of a walk, and return a line that says what it is.

    A frame of images H×W has R·H·scale lines of C·W·scale pixels, with ``grid`` = (R, C): 4×4 walks unless
    given, and on a ``dimension`` path a row for each dimension. A generator of points moves R·C points in one
    picture, 8×8 unless given. Without keyframes there are 6.
    A conditional generator passes through ``classes``, or else each walk keeps its own. Raises UserError for
    values that make no movie.
    """
    points = generator.config.data in MIXTURES
    latent_dim = generator.config.latent_dim
    path = path or ("dimension" if dimension else "slerp")
    side = 8 if points else 4
    rows, columns = grid or (len(dimension) or side, side)
    keyframes = min(6, frames) if keyframes is None else keyframes
    if points:
        height = width = plane.SCATTER * scale
    else:
        height, width = rows * generator.shape[1] * scale, columns * generator.shape[2] * scale

    out = output_file(out, (".gif", ".mp4"))
    require_range("--frames", frames, 2, 1_000_000)
    require_range("--fps", fps, 1, 120)
    require_range("--seed", seed, 0, 2**63 - 1)
    require_range("--scale", scale, 1, 256)
    require_range("--grid, its number of walks,", rows * columns, 1, MAX_WALKS)
    if path in ("slerp", "linear"):
        # with one keyframe z stays, while the class changes
        require_range("--keyframes", keyframes, 1 if classes else 2, min(frames, 10_000))
        if rows * columns * keyframes * latent_dim > 1 << 27:
            raise UserError(
                "so many walks through so many keyframes take over 1 GB: lower --grid or --keyframes"
            )
    if path == "dimension":
        if not dimension:
            raise UserError(f"--path dimension: say which, --dimension 0 to {latent_dim - 1}")
        for i in dimension:
            require_range("--dimension", i, 0, latent_dim - 1)
        if rows != len(dimension):
            raise UserError(f"--grid has a row for each dimension swept: --grid {len(dimension)}x{columns}")
        if not (all(map(math.isfinite, span)) and span[0] < span[1]):
            raise UserError(f"--span goes from a lower number to a higher, not {span[0]:g} to {span[1]:g}")
    elif dimension:
        raise UserError("--dimension belongs to --path dimension")
    if max(height, width) > MAX_SIDE:
        raise UserError(f"frames of {width}x{height} pixels, more than {MAX_SIDE}: lower --scale or --grid")

    walk = paths.walks(path, latent_dim, rows, columns, seed, keyframes, dimension, span)
    stops = choose_stops(generator.classes, classes, rows, columns, frames)
    walk = walk_classes(walk, stops, len(generator.classes))
    pictures = draw_frames(generator, walk, frames, (rows, columns), scale)
    write_movie(out, tqdm(pictures, "walk", frames, unit="frame", disable=None, leave=False), fps)
    rate = float(frame_rate(out, fps))
    nearest = f", a GIF's nearest to {fps:g}" if abs(rate - fps) > 0.01 else ""
    seconds = f"{frames / rate:.1f} s at {rate:.4g} frames a second{nearest}"
    return f"{out}: {frames} frames of {width}x{height}, {seconds}"


def choose_stops(known: Sequence[str], asked: Sequence[str], rows: int, columns: int, frames: int) -> Tensor:
    """The classes that each walk passes through, int64 (rows·columns, S): those asked for, or one each."""
    if not asked:
        return classes_in_turn(range(rows * columns), len(known))[:, None]
    require_classes(known, "--classes")
    require_range("--classes, their number,", len(asked), 1, frames)
    return torch.tensor([find_class(name, known) for name in asked]).expand(rows * columns, -1)


def draw_frames(
    generator: FinishedGenerator, walk: Walk, frames: int, grid: tuple[int, int], scale: int = 1
) -> Iterator[np.ndarray]:
    """Every walk is one cell of the picture, or one point with the trail that led to it."""
    mixture = MIXTURES.get(generator.config.data)
    start = 1 - TRAIL if mixture else 0  # the first frame has the trail of the loop's end
    recent: collections.deque[np.ndarray] = collections.deque(maxlen=1 - start)
    samples = stream_samples(generator, paths.frame_latents(walk, frames, start))
    for n in range(start, frames):
        recent.append(np.stack(list(itertools.islice(samples, math.prod(grid)))))
        if mixture and n >= 0:
            yield plane.draw_scatter(np.stack(recent), mixture[0], scale)
        elif n >= 0:
            yield pages.upscale(pages.grid(recent[0], *grid), scale)


# ---------------------------------------------------------------- the command


def arguments() -> Parser:
    """The flags; one that is not given is left out, so that ``render`` has the only defaults."""
    description = "Make a movie of a walk through latent space: a loop, whose last frame leads to its first."
    parser = Parser(prog="gan-ref walk", description=description, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder or a checkpoint")
    add("--out", required=True, metavar="FILE", help="the movie to write: walk.gif or walk.mp4")
    add("--path", choices=paths.PATHS, help="slerp and linear go through keyframes and back to the first; "
        "circle is a great circle; dimension moves one coordinate of z there and back [slerp]")  # fmt: skip
    add("--frames", type=int, metavar="N", help="frames of the loop [240]")
    add("--fps", type=float, metavar="N", help="frames a second; a GIF has 50, 33.3, 25, 20... [25]")
    add("--grid", type=cells, metavar="RxC", help="rows and columns of independent walks [4x4]")
    add("--keyframes", type=int, metavar="K", help="stops of slerp and linear [6]")
    add("--seed", type=int, metavar="N", help="seed of the walks: the same seed, the same movie [0]")
    add("--dimension", type=integers, metavar="I[,J,...]", help="coordinates of z to sweep, a row for each")
    add("--span", type=float, nargs=2, metavar=("LO", "HI"), help="the two ends of a sweep [-3 3]")
    add("--classes", type=lambda text: text.split(","), metavar="A,B,...",
        help="pass through these classes; with --keyframes 1 z stays [each walk keeps a class]")  # fmt: skip
    add("--scale", type=int, metavar="K", help="every pixel becomes KxK equal ones [1]")
    add("--device", choices=DEVICES, default="auto", help=f"where the generator runs; {HELP} [auto]")
    return parser


def cells(text: str) -> tuple[int, int]:
    """'3x4' → (3, 4)."""
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"rows x columns, as in 3x4; not {text!r}")
    return int(rows), int(columns)


def integers(text: str) -> tuple[int, ...]:
    """'25,50,75' → (25, 50, 75)."""
    try:
        return tuple(int(i) for i in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"whole numbers, as in 25,50,75; not {text!r}") from None


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = vars(arguments().parse_args(argv))
    generator = load_generator(given.pop("checkpoint"), choose_device(given.pop("device")))
    print(render(generator, **given))
