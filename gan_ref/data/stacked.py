"""Stacked digits, the standard test of mode collapse: 1,000 modes whose number is known.

Each image has three random digits of MNIST as its channels (Metz et al. 2017, §3.3.1; Srivastava et al. 2017,
VEEGAN, §4.2). Its class is the number of three digits that they make, from 000 to 999.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from gan_ref.data.arrays import CHUNK
from gan_ref.data.cache import Rows, open_or_build
from gan_ref.data.dataset import Dataset, Options
from gan_ref.errors import UserError

STACKED = "stacked-mnist:"  # before the path of MNIST's files
COUNTS = {"train": (128_000, 0), "test": (26_000, 1)}  # images, as PacGAN and VEEGAN have; the seed


def stacked_dataset(digits: Dataset, options: Options) -> Dataset:
    """Triples of ``digits``, gray images with labels from 0 to 9. Raises UserError for other data."""
    if digits.shape[0] != 1 or digits.labels is None or len(digits.classes) != 10:
        raise UserError(f"{STACKED}PATH stacks digits: PATH holds MNIST's files, with their labels")
    if options.channels not in (None, 3):
        raise UserError(f"{STACKED}PATH has three channels, a digit in each: leave --channels out")
    count, seed = COUNTS[options.split]
    triples = np.random.default_rng([seed, len(digits)]).integers(len(digits), size=(count, 3))
    labels = digits.labels[triples] @ np.array([100, 10, 1])

    def rows() -> Iterator[Rows]:
        for start in range(0, count, CHUNK):
            part = slice(start, start + CHUNK)
            channels = [digits.samples[triples[part, k], :, :, 0] for k in range(3)]
            yield Rows(np.stack(channels, axis=-1), {"labels": labels[part].astype(np.int64)})

    look = np.ascontiguousarray(digits.samples[:: max(1, len(digits) // 100)])  # a hundred, to know them by
    identity = [STACKED, count, seed, len(digits), look.tobytes(), digits.labels.tobytes()]
    opened = open_or_build("stacked-mnist", identity, replace(options, channels=3), rows, count)
    return replace(opened, classes=tuple(f"{number:03}" for number in range(1000)), channel=digits)
