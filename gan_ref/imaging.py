"""From a generator's output to pictures and movies that a person can open.

Pictures are uint8 arrays (H, W, C); a movie is an iterator of (H, W, 3), so that its length costs no memory.
A file appears at its name whole or not at all.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from gan_ref.errors import UserError

SCATTER = 256  # side of the picture of a two-dimensional generator

# ---------------------------------------------------------------- pictures


def to_uint8(x: Tensor) -> np.ndarray:
    """x (N, C, H, W) in [−1, 1] → uint8 (N, H, W, C), the nearest level: round((x + 1) · 255/2)."""
    levels = ((x.float() + 1) * 127.5).round().clamp(0, 255)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def grid(images: np.ndarray, rows: int, columns: int, gap: int = 0, fill: int = 255) -> np.ndarray:
    """images (N, H, W, C), N ≤ rows·columns, read like a page → (rows·H + (rows−1)·gap, columns·W + …, C).

    Cells without an image, and the gaps between cells, have the value `fill`.
    """
    n, height, width, channels = images.shape
    if n > rows * columns:
        raise ValueError(f"images: {n} do not fit in {rows}x{columns} cells")
    cells = np.full((rows * columns, height + gap, width + gap, channels), fill, np.uint8)
    cells[:n, :height, :width] = images
    cells = cells.reshape(rows, columns, height + gap, width + gap, channels)
    page = cells.transpose(0, 2, 1, 3, 4).reshape(rows * (height + gap), columns * (width + gap), channels)
    return page[: page.shape[0] - gap, : page.shape[1] - gap]


def upscale(images: np.ndarray, k: int) -> np.ndarray:
    """(…, H, W, C) → (…, k·H, k·W, C): every pixel becomes k×k equal pixels."""
    return images if k == 1 else images.repeat(k, axis=-3).repeat(k, axis=-2)


def scatter(points: np.ndarray, means: np.ndarray, size: int = SCATTER) -> np.ndarray:
    """points (T, W, 2) → uint8 (size, size, 3): W points now, points[-1], each with the trail that led to it.

    Pale discs are the means (M, 2) of the real data's modes. The picture is the square [−a, a]² with
    a = 1.3 · max |means|, y upwards; the trail fades to nothing over the T instants.
    """
    extent = 1.3 * np.abs(means).max()
    picture = np.full((size, size, 3), 255.0)
    modes = discs(means / extent, size, radius=7)
    trail = np.zeros((size, size))
    for age, now in enumerate(reversed(points)):
        np.maximum(trail, (1 - age / len(points)) ** 2 * discs(now / extent, size, radius=2), out=trail)
    for ink, colour in (modes, (226, 226, 232)), (trail, (31, 90, 165)):
        picture += ink[..., None] * (np.array(colour) - picture)
    return picture.round().astype(np.uint8)


def discs(points: np.ndarray, size: int, radius: float) -> np.ndarray:
    """Anti-aliased discs at points (W, 2) in [−1, 1]² → the share of each pixel covered, (size, size)."""
    cover = np.zeros((size, size))
    points = points[(np.abs(points) < 2).all(axis=1)]  # whatever is far outside, or not a number, is not seen
    x, y = (points[:, :1] + 1) * size / 2, (1 - points[:, 1:]) * size / 2  # (W, 1) in pixels
    reach = math.ceil(radius) + 1
    dy, dx = (d.ravel() for d in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    column, line = np.floor(x).astype(int) + dx, np.floor(y).astype(int) + dy  # (W, pixels around a point)
    share = np.clip(radius + 0.5 - np.hypot(column + 0.5 - x, line + 0.5 - y), 0, 1)
    inside = (column >= 0) & (column < size) & (line >= 0) & (line < size)
    np.maximum.at(cover, (line[inside], column[inside]), share[inside])
    return cover


# ---------------------------------------------------------------- generation


def forward_batch(image_size: int) -> int:
    """How many images one forward pass makes: a function of the image size alone.

    64 up to 32×32, 32 at 64×64, 16 above. On two CPU cores larger batches gain nothing (benchmarks/walk.py).
    """
    return min(64, max(16, 2048 // image_size))


def forward(module: nn.Module, z: Iterable[Tensor], batch: int = 64) -> Iterator[Tensor]:
    """G(z) for a stream of z in pieces of any length (n, latent_dim) → a stream of (≤ batch, …), in order.

    A convolution library picks its algorithm by the shape of the batch, and two algorithms differ in the last
    bits. So every pass here has exactly `batch` rows, the last one padded: a sample depends on its z alone.
    """
    # A copy, because the caller's network may still be in training. Channels-last is the faster layout.
    module = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)
    device = next(module.parameters()).device
    rows = itertools.chain.from_iterable(z)
    while now := list(itertools.islice(rows, batch)):
        padded = torch.stack(now + [now[-1]] * (batch - len(now)))
        with torch.inference_mode():
            x = module(padded.to(device))
        yield x[: len(now)]


def generate(module: nn.Module, z: Iterable[Tensor], batch: int = 64) -> Iterator[np.ndarray]:
    """`forward` as pictures: a stream of uint8 (≤ batch, H, W, C)."""
    return map(to_uint8, forward(module, z, batch))


# ---------------------------------------------------------------- files


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def choose_device(name: str) -> torch.device:
    """`auto` is the first GPU if there is one, else the CPU."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this torch sees no GPU; use --device cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def check(option: str, value: float, low: float, high: float) -> None:
    """UserError unless low ≤ value ≤ high."""
    if not low <= value <= high:
        raise UserError(f"{option} must be from {low} to {high}, not {value}")


def check_output(out: str | os.PathLike[str], suffixes: tuple[str, ...]) -> Path:
    """The path to write, or a UserError for one that cannot be: said before any work is done."""
    path = Path(out)
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path}: the name must end in {' or '.join(suffixes)}")
    if path.is_dir():
        raise UserError(f"{path} is a folder: give the name of a file")
    existing = next((p for p in path.absolute().parents if p.exists()), None)
    if existing is None or not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UserError(f"{path}: cannot write in {existing}")
    return path


def write_png(path: str | os.PathLike[str], picture: np.ndarray) -> None:
    """uint8 (H, W, C), C = 1 or 3."""
    if picture.shape[-1] not in (1, 3):
        raise ValueError(f"picture: {picture.shape[-1]} channels, not 1 or 3")
    with whole(Path(path)) as temporary:
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(temporary, format="PNG")


def frame_rate(path: Path, fps: float) -> Fraction:
    """The rate a movie at `path` can really have: a GIF's frames last whole hundredths of a second.

    At least two: browsers slow a frame of one hundredth down to ten.
    """
    if path.suffix.lower() != ".gif":
        return Fraction(fps).limit_denominator(1001)
    return Fraction(100, max(2, round(100 / fps)))


def write_movie(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float) -> None:
    """Stream frames, uint8 (H, W, C) with C = 1 or 3, to a .gif that loops for ever or an .mp4.

    The pixels are encoded one for one. H.264 in yuv420p, which every browser and phone plays, has half the
    resolution in colour and needs even sizes: an odd one gets its last line or column twice. Its index
    comes before its data (faststart), so that a browser plays while it loads.
    """
    path = Path(path)
    rate = frame_rate(path, fps)
    if path.suffix.lower() == ".gif":
        # A palette for each frame: half the error of one for all, and no later frame has to be known. It is
        # found on 96×96 of the pixels, in half the time. Ordered dither, as error diffusion crawls.
        few = "split[all][some];[some]scale='min(iw,96)':'min(ih,96)':flags=neighbor[few]"
        palette = "[few]palettegen=stats_mode=single:reserve_transparent=0[palette]"
        use = "[all][palette]paletteuse=new=1:dither=bayer:bayer_scale=4"
        encoding = ["-filter_complex", f"{few};{palette};{use}", "-loop", "0"]
    else:
        frames = map(_even, frames)
        encoding = ["-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart",
                    "-vf", "scale=out_color_matrix=bt709:out_range=tv,"
                    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709"]  # fmt: skip
    with whole(path) as temporary:
        _encode(temporary, frames, rate, encoding)


def _even(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(path: Path, frames: Iterable[np.ndarray], rate: Fraction, encoding: list[str]) -> None:
    """Pipe the frames through imageio's ffmpeg, run directly so that its exit status and words are seen."""
    frames = iter(frames)
    first = next(frames)
    height, width, channels = first.shape
    pixels = {1: "gray", 3: "rgb24"}[channels]
    size = f"{width}x{height}"
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-video_size", size, "-framerate", f"{rate}", "-i", "-"]
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise UserError("no ffmpeg found to write movies with: pip install 'imageio[ffmpeg]'") from None
    command = [ffmpeg, "-nostdin", "-loglevel", "error", "-y", *source, *encoding, f"file:{path}"]
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words)
        try:
            for frame in itertools.chain([first], frames):
                process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            pass  # ffmpeg gave up: it has said why
        except BaseException:
            process.kill()
            raise
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            status = process.wait()
        if status:
            words.seek(0)
            said = words.read().decode(errors="replace").splitlines() or [f"exit status {status}"]
            reason = said[0].rpartition("] ")[2]  # of "[out#0/gif @ 0x56] …"; the first line is the cause
            raise UserError(f"ffmpeg could not write the movie in {path.parent}: {reason}")
