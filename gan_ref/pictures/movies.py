"""Movies: a stream of pictures, uint8 (H, W, C) with C = 1 or 3, as a GIF, MP4, WebP or APNG."""

import contextlib
import errno
import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from gan_ref.errors import PassingTrouble, UserError
from gan_ref.files import write_atomically

# A palette for each frame has half the error of one for all, and needs to know no later frame. It is found on
# 96×96 of the pixels, which takes half the time. The dither is ordered, because error diffusion crawls.
GIF = [
    "-filter_complex",
    "split[all][some];[some]scale='min(iw,96)':'min(ih,96)':flags=neighbor[few];"
    "[few]palettegen=stats_mode=single:reserve_transparent=0[palette];"
    "[all][palette]paletteuse=new=1:dither=bayer:bayer_scale=4",
    "-loop", "0",
]  # fmt: skip
# Every browser and phone plays yuv420p. The index comes before the data (faststart), so that a browser plays
# while it loads.
MP4 = [
    "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-vf",
    "scale=out_color_matrix=bt709:out_range=tv,"
    "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709",
]  # fmt: skip

WEBP = ["-c:v", "libwebp_anim", "-quality", "90", "-loop", "0"]
APNG = ["-f", "apng", "-plays", "0"]
ENCODINGS = {".gif": GIF, ".mp4": MP4, ".webp": WEBP, ".apng": APNG}
SUFFIXES = tuple(ENCODINGS)


def frame_rate(path: Path, fps: float) -> Fraction:
    """The rate nearest to ``fps`` that a movie at ``path`` can have: a GIF's frames last whole hundredths of
    a second, and at least two, because browsers slow a frame of one hundredth down to ten. A WebP's last
    whole thousandths.
    """
    suffix = path.suffix.lower()
    if suffix == ".gif":
        return Fraction(100, max(2, round(100 / fps)))
    return Fraction(1000, round(1000 / fps)) if suffix == ".webp" else Fraction(fps).limit_denominator(1001)


def write_movie(path: str | os.PathLike[str], frames: Iterable[np.ndarray], fps: float) -> None:
    """Stream frames to a .gif, .webp or .apng that loops for ever, or to an .mp4, one pixel for each pixel.

    An APNG is exact, and a GIF has 256 colours a frame. MP4 and WebP have half the resolution in colour, and
    an MP4 has even sizes: an odd frame gets its last line or column twice.
    Raises UserError if ffmpeg cannot write the file, PassingTrouble if the disk is full.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    encoding, frames = ENCODINGS[suffix], map(_pad_to_even, frames) if suffix == ".mp4" else iter(frames)
    first = next(frames)
    height, width, channels = first.shape
    pixels = {1: "gray", 3: "rgb24"}[channels]
    source = ["-f", "rawvideo", "-pix_fmt", pixels, "-video_size", f"{width}x{height}"]
    source += ["-framerate", str(frame_rate(path, fps)), "-i", "-"]
    try:
        ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        raise UserError("no ffmpeg found to write movies with: pip install 'imageio[ffmpeg]'") from None
    with write_atomically(path) as part, tempfile.TemporaryFile() as words:
        command = [ffmpeg, "-nostdin", "-loglevel", "error", "-y", *source, *encoding, f"file:{part}"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": words}
        with contextlib.suppress(BrokenPipeError):  # ffmpeg has given up, and its words say why
            with subprocess.Popen(command, **pipes) as process:
                assert process.stdin
                for frame in itertools.chain([first], frames):
                    process.stdin.write(np.ascontiguousarray(frame).data)
        if process.returncode:
            words.seek(0)
            said = words.read().decode(errors="replace").splitlines() or [f"exit status {process.returncode}"]
            reason = said[0].rpartition("] ")[2]  # of "[out#0/gif @ 0x56] …"; the first line is the cause
            full = any(os.strerror(number) in reason for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
            kind = PassingTrouble if full else UserError
            raise kind(f"ffmpeg could not write the movie in {path.parent}: {reason}")


def _pad_to_even(frame: np.ndarray) -> np.ndarray:
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
