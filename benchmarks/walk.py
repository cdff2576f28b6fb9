"""What batching a walk gains, and what a long movie costs in memory: python benchmarks/walk.py [CHECKPOINT]

Without a checkpoint an untrained DCGAN stands in: neither time nor memory depends on the weights.
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
from pathlib import Path
from types import SimpleNamespace

import torch

from gan_ref import imaging, walk
from gan_ref.checkpoint import load_generator
from gan_ref.networks.dcgan import Generator

FRAMES = (100, 10_000)


def untrained(image_size: int, width: int = 64) -> SimpleNamespace:
    module = Generator(image_size, 3, width).eval()
    return SimpleNamespace(
        config=SimpleNamespace(data="faces", latent_dim=100), module=module, shape=(3, image_size, image_size)
    )


def seconds_an_image(generator: SimpleNamespace, batch: int, images: int, rounds: int = 5) -> float:
    """The best of a few rounds, for other programs may run beside this one."""
    z = torch.randn(images, generator.config.latent_dim, generator=torch.Generator().manual_seed(0))
    best = float("inf")
    for _ in range(rounds):
        stream = imaging.generate(generator.module, iter(z.split(1)), batch)
        next(stream)  # the network is copied and its first pass chooses algorithms
        start = time.perf_counter()
        made = sum(len(pictures) for pictures in stream)
        best = min(best, (time.perf_counter() - start) / made)
    return best


def speed(generator: SimpleNamespace) -> None:
    side = generator.shape[-1]
    batch = imaging.forward_batch(side)
    alone, together = seconds_an_image(generator, 1, 65), seconds_an_image(generator, batch, 5 * batch)
    times = f"one by one {alone * 1e3:.2f} ms an image, in batches of {batch} {together * 1e3:.2f} ms"
    print(f"{side}x{side}: {times}: {alone / together:.1f} times as fast")


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
    for generator in [load_generator(path) for path in sys.argv[1:]] or map(untrained, (32, 64)):
        speed(generator)
    for suffix, frames in itertools.product(("mp4", "gif"), FRAMES):
        mine, ffmpeg = memory(suffix, frames)
        print(f"{suffix} of {frames:6,} frames: {mine:.0f} MiB, and {ffmpeg:.0f} MiB in ffmpeg")


if __name__ == "__main__":
    main()
