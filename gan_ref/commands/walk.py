"""The command ``walk RUN --out walk.gif``: a movie of a walk through latent space."""

import argparse
import collections
import dataclasses
import itertools
import math
import os
from collections.abc import Iterator, Sequence
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


def render(
    generator: FinishedGenerator,
    out: str | os.PathLike[str] | None = None,
    path: str | None = None,
    frames: int | None = None,
    fps: float = 25,
    grid: tuple[int, int] | None = None,
    keyframes: int | None = None,
    seed: int | None = None,
    through: Sequence[int] = (),
    picks: Picks | None = None,
    dimension: Sequence[int] = (),
    direction: Sequence[int] = (),
    span: tuple[float, float] = (-3.0, 3.0),
    psi: float = 1.0,
    ease: str | None = None,
    hold: int = 0,
    loop: bool = True,
    scale: int = 1,
    classes: Sequence[str] = (),
    smooth_scale: int | None = None,
    captions: bool = False,
    factors: bool = False,
    frames_dir: str | os.PathLike[str] | None = None,
) -> str:
    """Write the movie of a walk, and return a line that says what it is.

    A frame of images H×W has R·H·scale lines of C·W·scale pixels, with ``grid`` = (R, C): 4×4 walks unless
    given, one through picks, and in a sweep a row for each dimension or direction. A generator of points
    moves R·C points in one picture, 8×8 unless given. Without keyframes there are 6, without frames 240, or
    as many as picks if there are more. A conditional generator passes through ``classes``, or else at each
    stop shows the class of its number. Raises UserError for values that make no movie.
    """
    points, latent_dim = generator.config.points, generator.config.latent_dim
    seed = int(generator.config.seed) if seed is None else seed
    path = path or ("dimension" if dimension else "direction" if direction else "slerp")
    sweeps, swept = path in paths.SWEEPS, dimension or direction
    require_range("--seed", seed, 0, 2**63 - 1)
    require_range("--through", through, 0, 2**63 - 1)
    if through:
        picks = numbered_z(seed, through, latent_dim), through
    picked = len(picks[0]) if picks else 0
    side = 8 if points else 1 if picks else 4
    rows, columns = grid or (len(swept) or side, side)
    if sweeps and not swept:
        rows = min(rows, latent_dim)
    frames = max(240, picked) if frames is None else frames
    stops = picked or (min(6, frames) if keyframes is None else keyframes)
    stops = 2 if sweeps else 4 if path == "circle" else stops
    times = scale if smooth_scale is None else smooth_scale
    height = width = plane.SCATTER * times
    if not points:
        height = rows * (generator.shape[1] * times + pages.LABEL * captions)
        width = columns * generator.shape[2] * times

    if not (out or frames_dir):
        raise UserError("nothing to write: give --out walk.mp4, or --frames-dir FOLDER, or both")
    if out:
        output_file(out, SUFFIXES)
    if frames_dir:
        output_file(Path(frames_dir) / "000000.png", (".png",))
    require_range("--frames", frames, 2, 1_000_000)
    require_range("--fps", fps, 1, 120)
    require_range("--scale", scale, 1, 256)
    require_range("--smooth-scale", times, 1, 256)
    require_range("--psi", psi, 0, 10)
    require_range("--grid, its number of walks,", rows * columns, 1, MAX_WALKS)
    if scale > 1 and smooth_scale:
        raise UserError("--scale repeats pixels and --smooth-scale interpolates: give one of them")
    if points and (captions or smooth_scale):
        raise UserError("--captions and --smooth-scale are for images, and this generator makes points")
    if path in ("slerp", "linear"):
        if picks and keyframes is not None:
            raise UserError("leave out --keyframes, the number of stops: a walk through chosen z has its own")
        what = "the number of z to walk through" if picks else "--keyframes"
        fewest = 1 if classes else 2  # with one, z stays, while the class changes
        require_range(what, stops, fewest, min(frames, 10_000))
        if rows * columns * stops * latent_dim > 1 << 27:
            much = "so many walks through so many keyframes take over 1 GB"
            raise UserError(f"{much}: lower --grid or --keyframes")
    elif picks:
        raise UserError(f"--through, --z and --between belong to --path slerp and linear, not to {path}")
    if dimension and path != "dimension":
        raise UserError("--dimension belongs to --path dimension")
    if direction and (dimension or path not in ("direction", "component")):
        raise UserError("--direction belongs to --path direction or component")
    if sweeps:
        require_range("--dimension" if dimension else "--direction", swept, 0, latent_dim - 1)
        if swept and rows != len(swept):
            raise UserError(f"--grid has a row for each number swept: --grid {len(swept)}x{columns}")
        if not (all(map(math.isfinite, span)) and span[0] < span[1]):
            raise UserError(f"--span goes from a lower number to a higher, not {span[0]:g} to {span[1]:g}")
    elif factors:
        raise UserError("--factors belongs to --path dimension, direction and component")
    if path == "circle" and not loop:
        raise UserError("--path circle is a loop: leave out --no-loop")
    if classes:
        require_classes(generator.classes, "--classes")
        require_range("--classes, their number,", len(classes), 1, frames)
    moments, held = frames if loop else frames - 1, max(stops, len(classes), 2)
    if not 0 <= hold * held < moments:
        raise UserError(f"--hold {hold} at {held} stops leaves no time to move: --frames {frames}")
    if max(height, width) > MAX_SIDE:
        raise UserError(f"frames of {width}x{height} pixels, more than {MAX_SIDE}: lower --scale or --grid")

    said, directions = "", None
    if sweeps:
        given = len(swept)
        swept, directions = sweep_directions(generator, path, rows, swept, seed, span)
        if path == "dimension" and not given:
            said = f"; dimensions {','.join(map(str, swept))} move the picture most"
        if factors:
            said += "\n" + factor_table(generator, [f"{path} {i}" for i in swept], directions, seed, span)
    through_z, picked_names = picks or (None, ())
    walk = paths.walks(path, latent_dim, rows, columns, seed, stops, directions, span, psi, through_z)
    walk = dataclasses.replace(walk, ease=ease or walk.ease, hold=hold / moments, loop=loop)
    numbers = lambda: numbers_at_stops(path, rows, columns, stops, picked_names)
    if generator.classes:
        asked = [find_class(name, generator.classes) for name in classes]
        at_stops = [asked] * (rows * columns) if asked else numbers()
        walk = walk_classes(walk, at_stops, len(generator.classes))
    names = None
    if captions and sweeps:
        names = [[i] for i in swept for _ in range(columns)]
    elif captions and path == "circle":  # its other stops have no number
        names = [[w, "", "", ""] for w in range(rows * columns)]
    elif captions:
        names = numbers()
    pictures = draw_frames(generator, walk, frames, (rows, columns), times, smooth_scale is not None, names)
    pictures = iter(tqdm(pictures, "walk", frames, unit="frame", disable=None, leave=False))
    if frames_dir:
        pictures = write_frames(frames_dir, pictures)
    rate = float(frame_rate(Path(out), fps)) if out else fps
    if out:
        write_movie(out, pictures, fps)
    else:
        collections.deque(pictures, maxlen=0)
    seconds = f"{frames / rate:.1f} s at {rate:.4g} frames a second"
    if out and abs(rate - fps) > 0.01:
        seconds += f", a {Path(out).suffix[1:].upper()}'s nearest to {fps:g}"
    return f"{out or frames_dir}: {frames} frames of {width}x{height}, {seconds}{said}"


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
    """The flags; one that is not given is left out, so that ``render`` has the only defaults."""
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
