"""What a walk's frames cost to make and to write, and a long movie in memory: python benchmarks/walk.py

Of an untrained DCGAN of width 64: neither time nor memory depends on the weights.
"""

from __future__ import annotations

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
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from training import LATENT, plain_networks

from gan_ref import imaging, walk
from gan_ref.networks.dcgan import Generator

FRAMES = (100, 10_000)


def untrained(image_size: int, width: int = 64) -> SimpleNamespace:
    module = Generator(image_size, 3, width).eval()
    return SimpleNamespace(
        config=SimpleNamespace(data="faces", latent_dim=100), module=module, shape=(3, image_size, image_size)
    )


def frame_by_frame(module: nn.Module, images: int = 64) -> None:
    """As a tutorial would: its network of the same layers, called with one z after another."""
    with torch.inference_mode():
        for z in torch.randn(images, 1, LATENT, 1, 1):
            imaging.to_uint8(module(z))


def batched(generator: SimpleNamespace, batch: int, images: int) -> None:
    z = torch.randn(images, generator.config.latent_dim)
    for _ in imaging.generate(generator.module, z.split(1), batch):
        pass


def seconds(render: Callable[[], None], rounds: int = 7) -> float:
    """The best of a few rounds after a first, for other programs may run beside this one."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        render()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def speed(generator: SimpleNamespace) -> None:
    side = generator.shape[-1]
    batch, tutorial = imaging.forward_batch(side), plain_networks(side, width=64)[0].eval()
    plain = seconds(lambda: frame_by_frame(tutorial)) / 64
    alone = seconds(lambda: batched(generator, 1, 64)) / 64
    together = seconds(lambda: batched(generator, batch, 5 * batch)) / (5 * batch)
    times = f"frame by frame {plain * 1e3:.2f} ms, channels-last {alone * 1e3:.2f}, in batches of {batch} "
    times += f"{together * 1e3:.2f}: {plain / together:.1f} times as fast, {1 / together:,.0f} frames/s"
    print(f"{side}x{side}: {times}")


def writing(generator: SimpleNamespace, suffix: str, frames: int = 1000) -> None:
    """The movie alone, of pictures that are there already."""
    z = torch.randn(frames, generator.config.latent_dim)
    pictures = [picture for some in imaging.generate(generator.module, [z]) for picture in some]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"movie.{suffix}"
        took = seconds(lambda: imaging.write_movie(out, iter(pictures), 25.0), rounds=2)
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
                        child = max(child, int(re.search(r"VmHWM:\s*(\d+)", status)[1]))
            time.sleep(0.05)

    threading.Thread(target=watch, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"walk.{suffix}"
        walk.render(untrained(16, width=8), out, frames=frames, rows=1, columns=1, scale=4)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, child)


def main() -> None:
    if sys.argv[1:2] == ["--peak"]:
        return peak(sys.argv[2], int(sys.argv[3]))
    print(f"{torch.get_num_threads()} threads")
    for generator in map(untrained, (32, 64)):
        speed(generator)
        for suffix in ("mp4", "gif"):
            writing(generator, suffix)
    for suffix, frames in itertools.product(("mp4", "gif"), FRAMES):
        mine, ffmpeg = memory(suffix, frames)
        print(f"{suffix} of {frames:6,} frames: {mine:.0f} MiB, and {ffmpeg:.0f} MiB in ffmpeg")


if __name__ == "__main__":
    main()
