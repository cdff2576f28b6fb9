"""What a source of real samples is once it is open, and how it may be opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from gan_ref.shapes import ImageSize


@dataclass(frozen=True)
class Options:
    """How to open a source; `gan_ref.data.open_dataset` explains each."""

    image_size: ImageSize = 32
    channels: int | None = None
    split: str = "train"
    workers: int | None = None
    follow_links: bool = False


@dataclass(frozen=True, eq=False)
class Dataset:
    """N samples and what is known about them.

    ``samples`` is uint8 (N, H, W, C), memory-mapped, for images, and float32 (N, 2) for points.
    """

    name: str
    samples: np.ndarray
    labels: np.ndarray | None = None  # int64 (N,), indices into classes
    classes: tuple[str, ...] = ()
    flip: bool = False  # is a mirrored sample still plausible? A digit is not, nor is a point.
    skipped: tuple[str, ...] = ()  # "file: reason", the first few of skipped_count
    skipped_count: int = 0
    factors: Mapping[str, np.ndarray] = field(default_factory=dict)  # faces: int64 (N,) for each factor
    means: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))  # points: centres of modes or cells
    channel: Dataset | None = None  # stacked digits: the data that each channel is a sample of
    sigma: float | None = None  # mixtures: the standard deviation of each mode; None for a user's points

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def points(self) -> bool:
        """True if the samples are points of the plane, False if they are images."""
        return self.samples.ndim == 2

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample as a network sees it: (C, H, W), or (2,)."""
        if self.points:
            return self.samples.shape[1:]
        height, width, channels = self.samples.shape[1:]
        return channels, height, width

    def notice(self) -> str:
        """One line that counts and names the files left out; empty if there were none."""
        if not self.skipped_count:
            return ""
        more = self.skipped_count - len(self.skipped)
        count = "1 file was" if self.skipped_count == 1 else f"{self.skipped_count} files were"
        named = "; ".join((*self.skipped, f"and {more} more") if more else self.skipped)
        return f"{self.name}: {count} skipped: {named}"
