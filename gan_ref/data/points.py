"""Which data are points of the plane, and a user's own: a .npy of floating-point numbers (N, 2)."""

import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from gan_ref.data.dataset import Dataset
from gan_ref.data.mixtures import MIXTURES, mixture
from gan_ref.files import read_untrusted

HALVINGS = 6  # into 64 cells
FEWEST, MOST = 100, 10_000_000


def is_points(source: str) -> bool:
    """Whether the samples of a source are points of the plane and not images: the one place to ask."""
    path = Path(os.path.expanduser(source))
    with suppress(Exception):  # what cannot be read gets its line where it is opened
        if source not in MIXTURES and path.suffix.lower() == ".npy" and path.is_file():
            return np.load(path, mmap_mode="r", allow_pickle=False).ndim == 2
    return source in MIXTURES


def open_points(source: str, split: str, std: float) -> Dataset | None:
    """The mixture of this name, or the points in this file, which have no test split, less their mean.

    ``std`` is what their standard deviation is scaled to, unless 0. Points of a file have no known modes.
    Their ``means`` are the middles of 64 equal parts, and the label of each is the middle nearest to it: the
    bins of Richardson & Weiss 2018 (NDB), from halving the data in place of k-means. Raises UserError.
    """
    if source in MIXTURES:
        return mixture(source, seed=0 if split == "train" else 1, std=std)
    if split == "test":
        return None
    path = Path(os.path.expanduser(source))
    points = read_untrusted(path, read_points, "a .npy of points in the plane")
    points = np.random.default_rng(0).permutation(points)  # as the first of them are often asked for
    points *= std / np.sqrt(points.var(axis=0).mean()) if std else 1
    means = middles(points)
    seen, labels = np.unique(nearest(points, means), return_inverse=True)  # a bent part's may be of none
    classes = tuple(f"({x:.3g}, {y:.3g})" for x, y in means[seen])
    return Dataset(path.stem, points.astype(np.float32), labels, classes, means=means[seen])


def read_points(path: Path) -> np.ndarray:
    """Points less their mean, float64 (N, 2). Raises ValueError if the file holds anything else."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if array.shape[1:] != (2,):
        raise ValueError(f"its shape is {array.shape}; points are (N, 2), and images uint8 (N, H, W[, C])")
    if array.dtype.kind != "f":
        raise ValueError(f"it holds {array.dtype}; save the points as float32")
    if not FEWEST <= len(array) <= MOST:
        raise ValueError(f"it has {len(array):,} points, and {FEWEST} to {MOST:,} make a run")
    points = array.astype(np.float64)
    points -= points.mean(axis=0)
    if not (np.isfinite(points.astype(np.float32)).all() and points.astype(np.float32).any()):
        raise ValueError("its points are not all finite, or all the same")
    return points


def middles(points: np.ndarray) -> np.ndarray:
    """The means (64, 2) of the parts of ``points`` (N, 2), each halved across its longer side, six times."""
    parts = [points]
    for _ in range(HALVINGS):
        ordered = [part[part[:, np.ptp(part, axis=0).argmax()].argsort(kind="stable")] for part in parts]
        parts = [half for part in ordered for half in np.array_split(part, 2)]
    return np.array([part.mean(axis=0) for part in parts])


def nearest(points: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Which of ``means`` (K, 2) is nearest to each of ``points`` (N, 2): int64 (N,)."""
    pieces = np.array_split(points, 1 + len(points) // 10_000)
    return np.concatenate([((x[:, None] - means) ** 2).sum(axis=2).argmin(axis=1) for x in pieces])
