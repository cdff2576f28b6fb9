"""`python -m gan_ref.walk CHECKPOINT --out walk.gif`: a movie of a walk through latent space.

Every path is a closed curve z(t), t in [0, 1), and frame n of N shows t = n/N: the first frame is not
repeated at the end, so the step from the last frame to the first is a step like any other.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from gan_ref import imaging
from gan_ref.checkpoint import load_generator
from gan_ref.data.mixtures import MIXTURES
from gan_ref.errors import Parser, UserError, command
from gan_ref.imaging import SCATTER

PATHS = ("slerp", "linear", "circle", "dimension")
CHUNK = 16  # frames whose z exist at one time
TRAIL = 12  # instants that the trail of a 2-D point shows
MAX_SIDE = 4096  # pixels: the largest frame that phones decode
MAX_WALKS = 1024


# ------------------------------------------------ paths: (T,) instants in [0, 1) → (T, latent_dim)


def lerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """(1 − t)·a + t·b. a, b: (latent_dim,), t: (T,) → (T, latent_dim)."""
    return a + t[:, None] * (b - a)


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """Turn from a to b at constant angular speed, the norm going linearly (Shoemake 1985; White 2016, §2.1).

        z(t) = ((1 − t)·‖a‖ + t·‖b‖) · (cos(tθ)·e₁ + sin(tθ)·e₂)

    with e₁ = a/‖a‖, e₂ the part of b perpendicular to a, normalised, and θ the angle between a and b. It is
    Shoemake's (sin((1 − t)θ)·a + sin(tθ)·b)/sin θ on the sphere, without the division that fails when a and b
    are parallel. A straight line between two samples of N(0, I) would pass nearer the origin than G ever saw
    in training: in 100 dimensions a sample's norm is 10 ± 0.7, and half-way along the line it is about 7.

    a, b: (latent_dim,), t: (T,) → (T, latent_dim).
    """
    e1, e2, angle = _plane(a, b)
    norm = torch.lerp(a.norm(), b.norm(), t)
    return norm[:, None] * _turn(e1, e2, angle * t)


def circle(u: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """The great circle through u towards v: z(t) = cos(2πt)·u + sin(2πt)·w.

    w ⟂ u lies in the plane of u and v, and ‖w‖ = ‖u‖: the norm never changes.
    u, v: (latent_dim,), t: (T,) → (T, latent_dim).
    """
    e1, e2, _ = _plane(u, v)
    return u.norm() * _turn(e1, e2, 2 * math.pi * t)


def sweep(base: Tensor, index: int, low: float, high: float, t: Tensor) -> Tensor:
    """One coordinate swept, the others held: z_index(t) = (low + high)/2 − (high − low)/2 · cos(2πt).

    From low (t = 0) to high (t = ½) and back, slower near both ends.
    base: (latent_dim,), t: (T,) → (T, latent_dim).
    """
    z = base.repeat(len(t), 1)
    z[:, index] = (low + high) / 2 - (high - low) / 2 * torch.cos(2 * math.pi * t)
    return z


def through(keyframes: Tensor, segment: Callable[[Tensor, Tensor, Tensor], Tensor], t: Tensor) -> Tensor:
    """Visit keyframes (K, latent_dim) in order and return to the first, by lerp or slerp, in time 1/K each.

    t: (T,) → (T, latent_dim).
    """
    position = t * len(keyframes)
    at = position.long()
    z = torch.empty(len(t), keyframes.shape[1], dtype=keyframes.dtype)
    for k in at.unique():
        here = at == k
        z[here] = segment(keyframes[k], keyframes[(k + 1) % len(keyframes)], position[here] - k)
    return z


def _turn(e1: Tensor, e2: Tensor, angle: Tensor) -> Tensor:
    return angle.cos()[:, None] * e1 + angle.sin()[:, None] * e2


def _plane(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Orthonormal e₁, e₂ that span a and b, and the angle from a to b in [0, π]."""
    e1, to = a / a.norm(), b / b.norm()
    across = to - (to @ e1) * e1
    angle = torch.atan2(across.norm(), to @ e1)
    if across.norm() < 1e-7:  # parallel or opposite: the plane is free, so take the axis farthest from a
        axis = torch.nn.functional.one_hot(e1.abs().argmin(), len(e1)).to(e1)
        across = axis - (axis @ e1) * e1
    return e1, across / across.norm().clamp_min(1e-30), angle  # the clamp is for latent_dim 1


# ---------------------------------------------------------------- walks


def walks(
    path: str,
    latent_dim: int,
    rows: int,
    columns: int,
    seed: int = 0,
    keyframes: int = 6,
    dimensions: Sequence[int] = (),
    span: tuple[float, float] = (-3.0, 3.0),
) -> Callable[[Tensor], Tensor]:
    """W = rows·columns independent walks from one seed, as a function of t (T,) → z (T, W, latent_dim).

    What a walk passes through is drawn from N(0, I), one walk after the other, in float64. On a `dimension`
    path row r sweeps dimensions[r], and the rows of a column share their base.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(n: int) -> Tensor:
        return torch.randn(n, latent_dim, generator=generator, dtype=torch.float64)

    if path == "dimension":
        bases = normal(columns)
        cells = [(base, i) for i in dimensions for base in bases]
        return lambda t: torch.stack([sweep(base, i, *span, t) for base, i in cells], dim=1)
    if path == "circle":
        pairs = [normal(2) for _ in range(rows * columns)]
        return lambda t: torch.stack([circle(u, v, t) for u, v in pairs], dim=1)
    segment = {"slerp": slerp, "linear": lerp}[path]
    stops = [normal(keyframes) for _ in range(rows * columns)]
    return lambda t: torch.stack([through(stop, segment, t) for stop in stops], dim=1)


def latents(walk: Callable[[Tensor], Tensor], frames: int, start: int = 0) -> Iterator[Tensor]:
    """The z of frames start, …, frames − 1 of a loop, a few frames at a time: (n·W, latent_dim) float32."""
    for first in range(start, frames, CHUNK):
        t = torch.arange(first, min(first + CHUNK, frames), dtype=torch.float64) % frames / frames
        yield walk(t).flatten(0, 1).float()


def render(
    generator: Any,
    out: str | os.PathLike[str],
    path: str = "slerp",
    frames: int = 240,
    fps: float = 25,
    rows: int | None = None,
    columns: int | None = None,
    keyframes: int | None = None,
    seed: int = 0,
    dimensions: Sequence[int] = (),
    span: tuple[float, float] = (-3.0, 3.0),
    scale: int = 1,
) -> str:
    """Write the movie of a walk and say what it is. `generator` is what `checkpoint.load_generator` returns.

    A frame of images H×W has rows·H·scale lines of columns·W·scale pixels. Without rows and columns there are
    4×4 walks, on a `dimension` path one row a dimension; a generator of points moves 8×8 in one picture.
    Without keyframes there are 6.
    Raises UserError for values that make no movie.
    """
    points = generator.config.data in MIXTURES
    latent_dim = generator.config.latent_dim
    rows = rows or len(dimensions) or (8 if points else 4)
    columns = columns or (8 if points else 4)
    keyframes = min(6, frames) if keyframes is None else keyframes
    if points:
        height = width = SCATTER * scale
    else:
        height, width = rows * generator.shape[1] * scale, columns * generator.shape[2] * scale

    out = imaging.check_output(out, (".gif", ".mp4"))
    imaging.check("--frames", frames, 2, 1_000_000)
    imaging.check("--fps", fps, 1, 120)
    imaging.check("--seed", seed, 0, 2**63 - 1)
    imaging.check("--scale", scale, 1, 256)
    imaging.check("--grid, its number of walks,", rows * columns, 1, MAX_WALKS)
    if path not in PATHS:
        raise UserError(f"--path is one of {', '.join(PATHS)}; not {path!r}")
    if path in ("slerp", "linear"):
        imaging.check("--keyframes", keyframes, 2, min(frames, 10_000))
    if path == "dimension":
        if not dimensions:
            raise UserError(f"--path dimension: say which, --dimension 0 to {latent_dim - 1}")
        for i in dimensions:
            imaging.check("--dimension", i, 0, latent_dim - 1)
        if rows != len(dimensions):
            raise UserError(f"--grid has a row for each dimension swept: --grid {len(dimensions)}x{columns}")
        if not (all(map(math.isfinite, span)) and span[0] < span[1]):
            raise UserError(f"--span goes from a lower number to a higher, not {span[0]:g} to {span[1]:g}")
    elif dimensions:
        raise UserError("--dimension belongs to --path dimension")
    if max(height, width) > MAX_SIDE:
        raise UserError(f"frames of {width}x{height} pixels, more than {MAX_SIDE}: lower --scale or --grid")

    walk = walks(path, latent_dim, rows, columns, seed, keyframes, dimensions, span)
    make = point_frames if points else image_frames
    pictures = make(generator, walk, frames, rows, columns)
    pictures = (imaging.upscale(picture, scale) for picture in pictures)
    bar = tqdm(pictures, total=frames, desc="walk", unit="frame", disable=None, leave=False)
    imaging.write_movie(out, bar, fps)
    rate = float(imaging.frame_rate(out, fps))
    nearest = f", a GIF's nearest to {fps:g}" if abs(rate - fps) > 0.01 else ""
    said = f"{out}: {frames} frames of {width}x{height}, {frames / rate:.1f} s"
    return f"{said} at {rate:.4g} frames a second{nearest}"


def image_frames(
    generator: Any, walk: Callable[[Tensor], Tensor], frames: int, rows: int, columns: int
) -> Iterator[np.ndarray]:
    """Every walk is one cell of the picture: uint8 (rows·S, columns·S, C)."""
    batch = imaging.forward_batch(generator.shape[-1])
    images = itertools.chain.from_iterable(imaging.generate(generator.module, latents(walk, frames), batch))
    for _ in range(frames):
        yield imaging.grid(np.stack(list(itertools.islice(images, rows * columns))), rows, columns)


def point_frames(
    generator: Any, walk: Callable[[Tensor], Tensor], frames: int, rows: int, columns: int
) -> Iterator[np.ndarray]:
    """Every walk is one point of the picture: uint8 (SCATTER, SCATTER, 3)."""
    means, _ = MIXTURES[generator.config.data]
    xs = imaging.forward(generator.module, latents(walk, frames, start=1 - TRAIL))
    points = (point.cpu().numpy() for x in xs for point in x)
    trail: collections.deque[np.ndarray] = collections.deque(maxlen=TRAIL)
    for n in range(1 - TRAIL, frames):
        trail.append(np.stack(list(itertools.islice(points, rows * columns))))
        if n >= 0:
            yield imaging.scatter(np.stack(trail), means)


# ---------------------------------------------------------------- the command


def arguments() -> Parser:
    description = "A movie of a walk through latent space. It loops: after the last frame comes the first."
    parser = Parser(prog="python -m gan_ref.walk", description=description)
    add = parser.add_argument
    add("checkpoint", help="a checkpoint.pt or a run folder")
    add("--out", required=True, metavar="FILE", help="walk.gif or walk.mp4")
    add("--path", choices=PATHS, help="slerp, linear: through keyframes and back to the first; circle: a "
        "great circle; dimension: one coordinate of z there and back [slerp]")  # fmt: skip
    add("--frames", type=int, default=240, metavar="N", help="frames of the loop [240]")
    add("--fps", type=float, default=25, metavar="N", help="frames a second; GIF: 50, 33.3, 25, 20... [25]")
    add("--grid", type=cells, metavar="RxC", help="rows and columns of independent walks [4x4]")
    add("--keyframes", type=int, metavar="K", help="of slerp and linear [6]")
    add("--seed", type=int, default=0, metavar="N", help="same checkpoint, same seed, same movie [0]")
    add("--dimension", type=integers, metavar="I[,J,...]", help="coordinates of z, each a row of the grid")
    add("--span", type=float, nargs=2, default=(-3.0, 3.0), metavar=("LO", "HI"), help="from, to [-3 3]")
    add("--scale", type=int, default=1, metavar="K", help="every pixel becomes KxK equal ones [1]")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the generator runs [auto]")
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
    given = arguments().parse_args(argv)
    generator = load_generator(given.checkpoint, imaging.choose_device(given.device))
    rows, columns = given.grid or (None, None)
    path = given.path or ("dimension" if given.dimension else "slerp")
    print(
        render(
            generator, given.out, path, given.frames, given.fps, rows, columns,
            given.keyframes, given.seed, given.dimension or (), tuple(given.span), given.scale,
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
