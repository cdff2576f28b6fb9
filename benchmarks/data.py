"""How fast real samples are decoded, drawn, opened and batched: `python benchmarks/data.py [SOURCE]`.

Without a SOURCE it writes 20,000 JPEGs of 32×32 into a temporary .zip. Each line gives the wall clock and,
where processes share the work, the processor time, which depends less on what else the machine does.
"""

import argparse
import io
import os
import resource
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from gan_ref.data import Batches, Dataset, open_dataset
from gan_ref.data.cache import available_cores
from gan_ref.data.faces import draw
from gan_ref.data.mixtures import mixture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", nargs="?", help="a folder or .zip of images")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        os.environ["GAN_REF_CACHE"] = str(Path(temporary) / "cache")
        source = options.source or write_jpegs(Path(temporary) / "images.zip", 20_000)
        print(f"cores {available_cores()}, image size {options.image_size}, batch {options.batch_size}")

        start, used = time.perf_counter(), processor_seconds()
        data = open_dataset(str(source), options.image_size)
        assert data is not None  # only a test split may be missing
        wall, used = time.perf_counter() - start, processor_seconds() - used
        print(f"decode   {len(data) / wall:10,.0f} images/s, {wall:.1f} s in all, {used:.1f} s of processor")

        start = time.perf_counter()
        open_dataset(str(source), options.image_size)
        print(f"reopen   {time.perf_counter() - start:10.2f} s")

        start = time.perf_counter()
        draw(np.arange(2048), options.image_size, seed=0)
        print(f"faces    {2048 / (time.perf_counter() - start):10,.0f} images/s drawn by one core")

        for name, dataset, batch, flip in (
            ("batches", data, options.batch_size, False),
            ("flipped", data, options.batch_size, True),
            ("points", mixture("grid25", seed=0), 256, False),
        ):
            print(f"{name:8} {rate(dataset, batch, flip):10,.0f} samples/s")


def rate(data: Dataset, batch_size: int, flip: bool, seconds: float = 2.0) -> float:
    """Samples a second from the cache to a float tensor on the CPU."""
    stream = Batches(data, batch_size, seed=0, flip=flip)
    stream.next()
    start, drawn = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        stream.next()
        drawn += batch_size
    return drawn / (time.perf_counter() - start)


def write_jpegs(path: Path, count: int) -> Path:
    """Faces in ten class folders, about 900 bytes a file as CIFAR-10's are."""
    images, _ = draw(np.arange(200), 32, seed=0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(count):
            file = io.BytesIO()
            Image.fromarray(images[i % 200]).save(file, "JPEG")
            archive.writestr(f"{i % 10}/{i:05d}.jpg", file.getvalue())
    return path


def processor_seconds() -> float:
    """User and system time of this process and of those it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


if __name__ == "__main__":
    main()
