"""One HTML file with the training of one to four runs in the plane. The page itself is laboratory.html."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gan_ref.config import Config
from gan_ref.data import Dataset
from gan_ref.errors import UserError
from gan_ref.explore.page import about, fill, pack
from gan_ref.pictures.plane import reach

RUNS = 4  # side by side
REALS = 600  # points of the data
LARGEST = 5_000_000  # bytes of the page


class Training(NamedTuple):
    """A run in the plane, as it was: see watch.moments."""

    name: str
    config: Config
    dataset: Dataset
    rounds: Sequence[int]
    moments: dict[str, np.ndarray]  # points, lines, field, arrows, numbers: (rounds, …)
    span: float  # what the largest place of ``points`` and ``lines`` means, in units of the plane's reach


def make_laboratory(trainings: Sequence[Training]) -> str:
    """The page of these runs, side by side on one time line. Raises UserError for more than four."""
    if len(trainings) > RUNS:
        raise UserError(f"a page holds up to {RUNS} runs, and these are {len(trainings)}")
    page = fill("laboratory.html", {"runs": [describe(training) for training in trainings]})
    assert len(page.encode()) <= LARGEST
    return page


def describe(training: Training) -> dict[str, Any]:
    means, moments = training.dataset.means, training.moments
    side = reach(means)
    real = training.dataset.samples[:REALS]
    numbers = np.where(
        np.isfinite(moments["numbers"]), moments["numbers"], -1
    )  # JSON has no infinity and no NaN
    return {
        "name": training.name,
        "about": about(training.config, ()),
        "means": (means / side).round(4).tolist(),
        "sigma": (training.dataset.sigma or 0) / side,
        "span": training.span,
        "side": side,
        "real": pack((np.clip(real / side, -1, 1) * 32767).astype("<i2").tobytes()),
        "rounds": list(training.rounds),
        "numbers": numbers.round(5).tolist(),
        **{name: packed(moments[name]) for name in ("points", "lines", "field", "arrows")},
    }


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array as bytes, little end first, with the count of its numbers in one moment."""
    return {"each": int(array[0].size), "packed": pack(array.astype(array.dtype.newbyteorder("<")).tobytes())}
