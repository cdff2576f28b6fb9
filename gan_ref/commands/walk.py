"""The command ``walk RUN --out walk.gif``: a movie of a walk through latent space."""

import argparse
import collections
import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref.checkpoint import load_generator
from gan_ref.commands.command_line import Parser, command, integers, output_file, require_range
from gan_ref.commands.project import project_files
from gan_ref.data import open_training
from gan_ref.devices import DEVICES, HELP, choose_device
from gan_ref.errors import UserError
from gan_ref.evaluation.factors import factor_table
from gan_ref.latents import paths
from gan_ref.latents.classes import find_class, of_class, require_classes, walk_classes
from gan_ref.latents.directions import feature_directions, layer_directions, strongest_dimensions
from gan_ref.latents.numbers import load_z, numbered_z
from gan_ref.latents.samples import FinishedGenerator, stream_samples
from gan_ref.pictures import pages, plane
from gan_ref.pictures.movies import SUFFIXES, frame_rate, write_movie

TRAIL = 12  # frames that the trail of a point shows
MAX_SIDE = 4096  # pixels: the largest frame that phones decode
MAX_WALKS = 1024

Picks = tuple[Tensor, Sequence[object]]  # z (K, Z) to walk through, and the name of each


@dataclass(frozen=True)
class Movie:
    """What a movie of a walk shows."""

    path: str
    frames: int
    grid: tuple[int, int]  # (R, C): rows and columns of walks
    stops: int
    seed: int
    picks: Picks | None  # the stops, if they are chosen
    dimension: Sequence[int] = ()  # what is swept, a row for each
    direction: Sequence[int] = ()
    out: str | os.PathLike[str] | None = None
    frames_dir: str | os.PathLike[str] | None = None
    fps: float = 25
    span: tuple[float, float] = (-3.0, 3.0)
    psi: float = 1.0
    ease: str | None = None
    hold: int = 0
    loop: bool = True
    classes: Sequence[str] = ()
    scale: int = 1
    smooth_scale: int | None = None
    captions: bool = False
    factors: bool = False

    @property
    def sweeps(self) -> bool:
        return self.path in paths.SWEEPS

    @property
    def swept(self) -> Sequence[int]:
        return self.dimension or self.direction

    @property
    def times(self) -> int:
        """The side of a pixel of G in pixels of the movie."""
        return self.scale if self.smooth_scale is None else self.smooth_scale

    @property
    def moments(self) -> int:
        """The steps in time from the first frame to the end, which a loop does not show."""
        return self.frames if self.loop else self.frames - 1

    def size(self, generator: FinishedGenerator) -> tuple[int, int]:
        """Height and width of a frame in pixels."""
        if generator.config.points:
            return plane.SCATTER * self.times, plane.SCATTER * self.times
        (rows, columns), (_, height, width) = self.grid, generator.shape
        return rows * (height * self.times + pages.LABEL * self.captions), columns * width * self.times


def choose(
    generator: FinishedGenerator,
    path: str | None = None,
    frames: int | None = None,
    grid: tuple[int, int] | None = None,
    keyframes: int | None = None,
    seed: int | None = None,
    through: Sequence[int] = (),
    picks: Picks | None = None,
    dimension: Sequence[int] = (),
    direction: Sequence[int] = (),
    **options: Any,
) -> Movie:
    """The movie that is asked for, with what nobody chose: see ``render``."""
    points, latent_dim = generator.config.points, generator.config.latent_dim
    swept = dimension or direction
    path = path or ("dimension" if dimension else "direction" if direction else "slerp")
    seed = int(generator.config.seed) if seed is None else seed
    require_range("--seed", seed, 0, 2**63 - 1)
    require_range("--through", through, 0, 2**63 - 1)
    if through:
        picks = numbered_z(seed, through, latent_dim), through
    if picks and keyframes is not None and path in ("slerp", "linear"):
        raise UserError("leave out --keyframes, the number of stops: a walk through chosen z has its own")
    picked = len(picks[0]) if picks else 0
    frames = max(240, picked) if frames is None else frames
    stops = picked or (min(6, frames) if keyframes is None else keyframes)
    side = 8 if points else 1 if picks else 4
    rows, columns = grid or (len(swept) or side, side)
    if path in paths.SWEEPS:
        stops, rows = 2, rows if swept else min(rows, latent_dim)
    elif path == "circle":
        stops = 4
    return Movie(path, frames, (rows, columns), stops, seed, picks, dimension, direction, **options)


def contradictions(movie: Movie, generator: FinishedGenerator) -> Iterator[str]:
    """What speaks against a movie. Raises UserError for a number out of its range."""
    points, latent_dim = generator.config.points, generator.config.latent_dim
    (rows, columns), path, swept = movie.grid, movie.path, movie.swept
    if not (movie.out or movie.frames_dir):
        yield "nothing to write: give --out walk.mp4, or --frames-dir FOLDER, or both"
    if movie.out:
        output_file(movie.out, SUFFIXES)
    if movie.frames_dir:
        output_file(Path(movie.frames_dir) / "000000.png", (".png",))
    require_range("--frames", movie.frames, 2, 1_000_000)
    require_range("--fps", movie.fps, 1, 120)
    require_range("--scale", movie.scale, 1, 256)
    require_range("--smooth-scale", movie.times, 1, 256)
    require_range("--psi", movie.psi, 0, 10)
    require_range("--grid, its number of walks,", rows * columns, 1, MAX_WALKS)
    if movie.scale > 1 and movie.smooth_scale:
        yield "--scale repeats pixels and --smooth-scale interpolates: give one of them"
    if points and (movie.captions or movie.smooth_scale):
        yield "--captions and --smooth-scale are for images, and this generator makes points"

    # where it goes
    if path in ("slerp", "linear"):
        what = "the number of z to walk through" if movie.picks else "--keyframes"
        fewest = 1 if movie.classes else 2  # with one, z stays, while the class changes
        require_range(what, movie.stops, fewest, min(movie.frames, 10_000))
        if rows * columns * movie.stops * latent_dim > 1 << 27:
            yield "so many walks through so many keyframes take over 1 GB: lower --grid or --keyframes"
    elif movie.picks:
        yield f"--through, --z and --between belong to --path slerp and linear, not to {path}"
    if movie.dimension and path != "dimension":
        yield "--dimension belongs to --path dimension"
    if movie.direction and (movie.dimension or path not in ("direction", "component")):
        yield "--direction belongs to --path direction or component"
    if movie.sweeps:
        low, high = movie.span
        require_range("--dimension" if movie.dimension else "--direction", swept, 0, latent_dim - 1)
        if swept and rows != len(swept):
            yield f"--grid has a row for each number swept: --grid {len(swept)}x{columns}"
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            yield f"--span goes from a lower number to a higher, not {low:g} to {high:g}"
    elif movie.factors:
        yield "--factors belongs to --path dimension, direction and component"
    if path == "circle" and not movie.loop:
        yield "--path circle is a loop: leave out --no-loop"

    # how it fits
    if movie.classes:
        require_classes(generator.classes, "--classes")
        require_range("--classes, their number,", len(movie.classes), 1, movie.frames)
    held = max(movie.stops, len(movie.classes), 2)
    if not 0 <= movie.hold * held < movie.moments:
        yield f"--hold {movie.hold} at {held} stops leaves no time to move: --frames {movie.frames}"
    height, width = movie.size(generator)
    if max(height, width) > MAX_SIDE:
        yield f"frames of {width}x{height} pixels, more than {MAX_SIDE}: lower --scale or --grid"


def render(
    generator: FinishedGenerator,
    out: str | os.PathLike[str] | None = None,
    path: str | None = None,
    **options: Any,
) -> str:
    """Write the movie of a walk, and return a line that says what it is. ``options`` are Movie's fields,
    ``through`` and ``keyframes``.

    A frame of images H×W has R·H·scale lines of C·W·scale pixels, with ``grid`` = (R, C): 4×4 walks unless
    given, one through picks, and in a sweep a row for each dimension or direction. A generator of points
    moves R·C points in one picture, 8×8 unless given. Without keyframes there are 6, without frames 240, or
    as many as picks if there are more. A conditional generator passes through ``classes``, or else at each
    stop shows the class of its number. Raises UserError for values that make no movie.
    """
    movie = choose(generator, path, out=out, **options)
    for reason in contradictions(movie, generator):
        raise UserError(reason)
    walk, names, said = plan(generator, movie)
    smooth = movie.smooth_scale is not None
    pictures = draw_frames(generator, walk, movie.frames, movie.grid, movie.times, smooth, names)
    pictures = iter(tqdm(pictures, "walk", movie.frames, unit="frame", disable=None, leave=False))
    if movie.frames_dir:
        pictures = write_frames(movie.frames_dir, pictures)
    if out:
        write_movie(out, pictures, movie.fps)
    else:
        collections.deque(pictures, maxlen=0)
    rate = float(frame_rate(Path(out), movie.fps)) if out else movie.fps
    seconds = f"{movie.frames / rate:.1f} s at {rate:.4g} frames a second"
    if out and abs(rate - movie.fps) > 0.01:
        seconds += f", a {Path(out).suffix[1:].upper()}'s nearest to {movie.fps:g}"
    height, width = movie.size(generator)
    return f"{out or movie.frames_dir}: {movie.frames} frames of {width}x{height}, {seconds}{said}"


def plan(generator: FinishedGenerator, movie: Movie) -> tuple[paths.Walk, list[list[Any]] | None, str]:
    """Where z goes, the captions of its stops if there are to be any, and what to say of the directions."""
    (rows, columns), path, stops = movie.grid, movie.path, movie.stops
    swept, directions, said = movie.swept, None, ""
    if movie.sweeps:
        swept, directions = sweep_directions(generator, path, rows, swept, movie.seed, movie.span)
        if path == "dimension" and not movie.swept:
            said = f"; dimensions {','.join(map(str, swept))} move the picture most"
        if movie.factors:
            named = [f"{path} {i}" for i in swept]
            said += "\n" + factor_table(generator, named, directions, movie.seed, movie.span)
    z, names = movie.picks or (None, ())
    where = path, generator.config.latent_dim, rows, columns, movie.seed, stops
    walk = paths.walks(*where, directions, movie.span, movie.psi, z)
    hold = movie.hold / movie.moments
    walk = dataclasses.replace(walk, ease=movie.ease or walk.ease, hold=hold, loop=movie.loop)
    if generator.classes:
        asked = [find_class(name, generator.classes) for name in movie.classes]
        numbers = numbers_at_stops(path, rows, columns, stops, names)
        walk = walk_classes(walk, [asked] * (rows * columns) if asked else numbers, len(generator.classes))
    if not movie.captions:
        return walk, None, said
    if movie.sweeps:
        return walk, [[i] for i in swept for _ in range(columns)], said
    if path == "circle":  # its other stops have no number
        return walk, [[w, "", "", ""] for w in range(rows * columns)], said
    return walk, numbers_at_stops(path, rows, columns, stops, names), said


def sweep_directions(
    generator: FinishedGenerator,
    path: str,
    rows: int,
    swept: Sequence[int],
    seed: int,
    span: tuple[float, float],
) -> tuple[Sequence[int], Tensor]:
    """Which numbers are swept, the strongest if none is given, and the direction of each: (R, Z).

    Those of a conditional generator are measured on its first class.
    """
    generator = of_class(generator)
    if path == "dimension":
        swept = swept or strongest_dimensions(generator, rows, seed, span)
        return swept, torch.eye(generator.config.latent_dim)[list(swept)]
    swept = swept or range(rows)
    if path == "direction":
        return swept, layer_directions(generator)[list(swept)]
    return swept, feature_directions(generator, max(swept) + 1, seed)[list(swept)]


def numbers_at_stops(
    path: str, rows: int, columns: int, stops: int, picked: Sequence[object]
) -> list[list[Any]]:
    """The number of each z that each of rows·columns walks passes or begins at, or its name in ``picked``."""
    count = rows * columns
    if picked:
        return [[picked[(k + w) % stops] for k in range(stops)] for w in range(count)]
    if path in ("circle", *paths.SWEEPS):
        return [[w if path == "circle" else w % columns] for w in range(count)]
    return [[k * count + w for k in range(stops)] for w in range(count)]


def draw_frames(
    generator: FinishedGenerator,
    walk: paths.Walk,
    frames: int,
    grid: tuple[int, int],
    scale: int = 1,
    smooth: bool = False,
    names: Sequence[Sequence[object]] | None = None,
) -> Iterator[np.ndarray]:
    """Every walk is one cell of the picture, or one point with the trail that led to it.

    ``names`` (W, K) has what stands under each cell while its walk is nearest to each stop.
    """
    points = generator.config.points
    means = open_training(generator.config).means if points else None
    start = 1 - TRAIL if points else 0  # the first frame has the trail of the loop's end
    recent: collections.deque[np.ndarray] = collections.deque(maxlen=1 - start)
    samples = stream_samples(generator, paths.frame_latents(walk, frames, start))
    for n in range(start, frames):
        recent.append(np.stack(list(itertools.islice(samples, math.prod(grid)))))
        if means is not None and n >= 0:
            yield plane.draw_scatter(np.stack(recent), means, scale)
        elif n >= 0:
            cells = pages.upscale(recent[0], scale, smooth)
            if names:
                (k,) = walk.nearest(paths.instants(n, n + 1, frames, walk.loop))
                cells = pages.label(cells, [name[k % len(name)] for name in names])
            yield pages.grid(cells, *grid)


def write_frames(folder: str | os.PathLike[str], pictures: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same pictures, each written as folder/NNNNNN.png as it passes."""
    for n, picture in enumerate(pictures):
        pages.write_png(Path(folder) / f"{n:06d}.png", picture)
        yield picture


# ---------------------------------------------------------------- the command


def arguments() -> Parser:
    """The flags; one that is not given is left out: ``choose`` and ``Movie`` have the only defaults."""
    description = "Make a movie of a walk through latent space: a loop, whose last frame leads to its first."
    parser = Parser(prog="gan-ref walk", description=description, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder, a checkpoint or demo")
    add("--out", metavar="FILE", help=f"the movie to write: {', '.join('walk' + s for s in SUFFIXES)}")
    add("--frames-dir", metavar="FOLDER", help="write each frame as a PNG too, 000000.png and on")
    add("--path", choices=paths.PATHS, help="slerp and linear go through keyframes and back to the first; "
        "circle is a great circle; the others sweep there and back: a dimension of z, a direction of G's "
        "first layer, a principal component of its features [slerp]")  # fmt: skip
    add("--through", type=integers, metavar="I,J[,...]", help="walk through the z of these numbers")
    add("--z", metavar="FILE", help="walk through the rows of a .npy (K, Z); with --frames K each is a frame")
    add("--between", metavar="A.jpg,B.jpg[,...]", help="walk through the z nearest to these pictures")
    add("--keyframes", type=int, metavar="K", help="stops of slerp and linear [6]")
    add("--seed", type=int, metavar="N", help="whose numbered z the walk goes through [the run's own]")
    add("--dimension", type=integers, metavar="I[,J,...]",
        help="coordinates of z to sweep, a row for each [those that move the picture most]")  # fmt: skip
    add("--direction", type=integers, metavar="I[,J,...]",
        help="directions or components to sweep, the strongest is 0 [the first]")  # fmt: skip
    add("--factors", action="store_true", help="say which labelled factors of the data each sweep changes")
    add("--span", type=float, nargs=2, metavar=("LO", "HI"), help="the two ends of a sweep [-3 3]")
    add("--psi", type=float, metavar="X", help="shorten z to X times its length: less varied, cleaner [1]")
    add("--frames", type=int, metavar="N", help="frames of the movie [240]")
    add("--fps", type=float, metavar="N", help="frames a second; a GIF has 50, 33.3, 25, 20... [25]")
    ease = "from stop to stop at one speed, slow near both, or at once [linear; smooth in a sweep]"
    add("--ease", choices=list(paths.EASES), help=ease)
    add("--hold", type=int, metavar="N", help="frames of the movie that stand still at each stop [0]")
    add("--loop", action=argparse.BooleanOptionalAction, help="go back to the first stop at the end [yes]")
    add("--grid", type=cells, metavar="RxC", help="rows and columns of walks [4x4, and 1x1 through chosen z]")
    add("--scale", type=int, metavar="K", help="every pixel becomes KxK equal ones [1]")
    add("--smooth-scale", type=int, metavar="K", help="the same size, interpolated by a Lanczos filter")
    add("--captions", action="store_true", help="print under each cell the number of the z it is nearest to")
    add("--classes", type=lambda text: text.split(","), metavar="A,B,...",
        help="pass through these classes; with --keyframes 1 z stays [those of the z's numbers]")  # fmt: skip
    add("--device", choices=DEVICES, default="auto", help=f"where the generator runs; {HELP} [auto]")
    return parser


def cells(text: str) -> tuple[int, int]:
    """'3x4' → (3, 4)."""
    rows, _, columns = text.lower().partition("x")
    if not (rows.isdecimal() and columns.isdecimal() and int(rows) and int(columns)):
        raise argparse.ArgumentTypeError(f"rows x columns, as in 3x4; not {text!r}")
    return int(rows), int(columns)


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = vars(arguments().parse_args(argv))
    if len(given.keys() & {"through", "z", "between"}) > 1:
        raise UserError("--through, --z and --between each say where to walk: give one of them")
    generator = load_generator(given.pop("checkpoint"), choose_device(given.pop("device")))
    if file := given.pop("z", None):
        z = load_z(file, generator.config.latent_dim)
        given["picks"] = z, range(len(z))
    if names := given.pop("between", None):
        if generator.classes:
            raise UserError("--between is for generators without classes: project --class NAME, and walk --z")
        files = [Path(name) for name in names.split(",")]
        _, found = project_files(generator, files)
        given["picks"] = found.z, [file.stem for file in files]
        print("; ".join(f"{file.name}: error {error:.3f}" for file, error in zip(files, found.errors)))
    print(render(generator, **given))
