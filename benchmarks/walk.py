"""The time of a walk's frames, made and written, and the memory of a long movie: python benchmarks/walk.py

The generator is an untrained DCGAN of width 64, since neither time nor memory depends on the weights. A walk
of points, which matplotlib draws, is timed too.
"""

import contextlib
import itertools
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from training import LATENT, plain_networks

from gan_ref.commands.walk import draw_frames, render
from gan_ref.latents import paths, samples
from gan_ref.networks import mlp
from gan_ref.networks.dcgan import Generator
from gan_ref.pictures.movies import write_movie
from gan_ref.pictures.pages import to_uint8

FRAMES = (100, 10_000)


@dataclass
class Untrained:
    """What checkpoint.load_generator returns, as far as a walk looks at it."""

    module: nn.Module
    config: Any
    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()


def untrained(image_size: int, width: int = 64) -> Untrained:
    module = Generator(image_size, 3, width).eval()
    return Untrained(
        module, SimpleNamespace(data="faces", latent_dim=100, seed=0), (3, image_size, image_size)
    )


def frame_by_frame(module: nn.Module, images: int = 64) -> None:
    """As a tutorial would: its network of the same layers, called with one z after another."""
    with torch.inference_mode():
        for z in torch.randn(images, 1, LATENT, 1, 1):
            to_uint8(module(z))


def batched(generator: Untrained, batch: int, images: int) -> None:
    z = torch.randn(images, generator.config.latent_dim)
    for _ in samples.generate(generator.module, z.split(1), batch):
        pass


def points(frames: int = 50) -> None:
    """A walk of 8×8 points, its pictures drawn but not written."""
    config = SimpleNamespace(data="grid25", latent_dim=2, seed=0)
    generator = Untrained(mlp.Generator(width=128, latent_dim=2), config, (2,))
    walk = paths.walks("slerp", 2, 8, 8)

    def draw() -> None:
        for _ in draw_frames(generator, walk, frames, (8, 8)):
            pass

    took = seconds(draw, rounds=2)
    print(f"points: {frames / took:,.0f} frames/s drawn")


def seconds(render: Callable[[], None], rounds: int = 7) -> float:
    """The best of a few rounds after a first, for other programs may run beside this one."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        render()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def speed(generator: Untrained) -> None:
    side = generator.shape[-1]
    batch, tutorial = samples.forward_batch(side), plain_networks(side, width=64)[0].eval()
    plain = seconds(lambda: frame_by_frame(tutorial)) / 64
    alone = seconds(lambda: batched(generator, 1, 64)) / 64
    together = seconds(lambda: batched(generator, batch, 5 * batch)) / (5 * batch)
    times = f"frame by frame {plain * 1e3:.2f} ms, channels-last {alone * 1e3:.2f}, in batches of {batch} "
    times += f"{together * 1e3:.2f}: {plain / together:.1f} times as fast, {1 / together:,.0f} frames/s"
    print(f"{side}x{side}: {times}")


def writing(generator: Untrained, suffix: str, frames: int = 1000) -> None:
    """The movie alone, of pictures that are there already."""
    z = torch.randn(frames, generator.config.latent_dim)
    pictures = [picture for some in samples.generate(generator.module, [z]) for picture in some]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"movie.{suffix}"
        took = seconds(lambda: write_movie(out, iter(pictures), 25.0), rounds=2)
    print(f"{generator.shape[-1]}x{generator.shape[-1]}: {frames / took:,.0f} frames/s written to {suffix}")


def memory(suffix: str, frames: int) -> tuple[float, float]:
    """Peak MiB of a process that renders a movie of 64×64 pixels a frame, and of its ffmpeg."""
    command = [sys.executable, __file__, "--peak", suffix, str(frames)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    mine, ffmpeg = (int(kilobytes) / 1024 for kilobytes in done.stdout.split())
    return mine, ffmpeg


def peak(suffix: str, frames: int) -> None:
    """Print the peaks of this process and its ffmpeg in kB. Linux; getrusage counts the fork as ffmpeg's."""
    child = 0

    def watch() -> None:
        nonlocal child
        while True:
            for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                with contextlib.suppress(OSError, TypeError):  # it ended meanwhile
                    status = Path(f"/proc/{pid}/status").read_text()
                    if "ffmpeg" in status.splitlines()[0]:
                        child = max(child, *map(int, re.findall(r"VmHWM:\s*(\d+)", status)))
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"walk.{suffix}"
        render(untrained(16, width=8), out, frames=frames, grid=(1, 1), scale=4)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, child)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        return peak(sys.argv[2], int(sys.argv[3]))
    print(f"{torch.get_num_threads()} threads")
    for generator in map(untrained, (32, 64)):
        speed(generator)
        for suffix in ("mp4", "gif"):
            writing(generator, suffix)
    points()
    for suffix, frames in itertools.product(("mp4", "gif"), FRAMES):
        mine, ffmpeg = memory(suffix, frames)
        print(f"{suffix} of {frames:6,} frames: {mine:.0f} MiB, and {ffmpeg:.0f} MiB in ffmpeg")


if __name__ == "__main__":
    main()
