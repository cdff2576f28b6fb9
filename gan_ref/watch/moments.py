"""What a run in the plane is at equal rounds, in numbers: the laboratory page is made of these."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gan_ref import distributed
from gan_ref.data import Dataset
from gan_ref.errors import UserError
from gan_ref.evaluation.modes import points_coverage
from gan_ref.files import read_untrusted, write_atomically
from gan_ref.pictures import plane
from gan_ref.techniques.game import Game
from gan_ref.watch.metrics import points_of

POINTS, ARROWS, LINES, FIELD = 600, 250, 17, 40
SPAN = 1.5  # of the plane's reach: places farther away are put at its border
MOST = 128  # moments that are read of a run
KINDS = {  # the arrays of a moment
    "points": ((POINTS, 2), np.uint16),  # G(z) of z number 0 to 599
    "lines": ((LINES * LINES, 2), np.uint16),  # G of a grid of z
    "field": ((FIELD, FIELD), np.int8),  # what D believes, from −127 (fake) to 127 (real), y downwards
    "arrows": ((ARROWS, 2), np.int8),  # ∇s at the first points, in units of the longest / 127
    "numbers": ((4,), np.float64),  # modes, high quality (or NaN), reverse KL, and the longest of ∇s
}
Moment = dict[str, np.ndarray]


@distributed.alone()
def record_moment(game: Game, dataset: Dataset, z: Tensor) -> Moment:
    """The present round. ``z`` (N, Z), N ≥ 600, are those that the run's pages show."""
    reach, generator, judge = plane.reach(dataset.means), game.g.module, game.d.module
    points = points_of(generator, z)
    fake = torch.from_numpy(points).to(z.device)
    real = dataset.samples[: len(points)]
    field = plane.belief_field(judge, game.objective, fake, real, reach, game.pack)
    field = field.reshape(FIELD, -1, FIELD, plane.FIELD // FIELD).mean(axis=(1, 3))
    arrows = np.nan_to_num(plane.score_gradients(judge, fake[:ARROWS], game.pack))
    longest = float(np.linalg.norm(arrows, axis=1).max())
    found = points_coverage(points, dataset)
    return {
        "points": places(points[:POINTS], reach),
        "lines": places(points_of(generator, grid_of_z(z)), reach),
        "field": np.round(127 * field).astype(np.int8),
        "arrows": np.round(127 * arrows / (longest or 1)).astype(np.int8),
        "numbers": np.array([found.modes, found.high_quality, found.reverse_kl, longest], float),
    }


def places(points: np.ndarray, reach: float) -> np.ndarray:
    """points (N, 2) → uint16, of which 0 is −1.5·reach and 65535 is 1.5·reach."""
    return np.round((np.nan_to_num(points) / (SPAN * reach) + 1).clip(0, 2) * 32767.5).astype(np.uint16)


def grid_of_z(z: Tensor) -> Tensor:
    """A grid of z, its first two numbers from −2 to 2 and the others 0: (17², Z), as ``z`` (N, Z) is."""
    axis = torch.linspace(-2, 2, LINES)
    grid = torch.zeros(LINES * LINES, z.shape[1])
    corners = torch.cartesian_prod(axis, axis)
    grid[:, :2] = corners[:, : z.shape[1]]
    return grid.to(z)


def write_moment(path: Path, moment: Moment) -> None:
    with write_atomically(path) as part, open(part, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **moment)


def read_moments(folder: Path) -> tuple[list[int], Moment]:
    """The rounds of a run's moments, and each of their arrays with a first axis for the round. Of more than
    128, which a lengthened run may have, as many are evenly chosen, the first and last among them.

    Raises UserError if there are not two, or if one is damaged.
    """
    found = sorted((int(path.stem), path) for path in folder.glob("moments/*.npz") if path.stem.isdecimal())
    if len(found) < 2:
        raise UserError(f"{folder} holds no moments/ of a run in the plane: train it with this version")
    found = [found[i] for i in np.linspace(0, len(found) - 1, min(MOST, len(found))).round().astype(int)]

    def load(path: Path) -> Moment:
        with np.load(path, allow_pickle=False) as file:
            moment = {name: file[name] for name in KINDS}
        for name, (shape, dtype) in KINDS.items():
            if (moment[name].shape, moment[name].dtype) != (shape, dtype):
                raise ValueError(f"its {name} are not as they should be")
        return moment

    moments = [read_untrusted(path, load, "a moment of a run in the plane") for _, path in found]
    return [number for number, _ in found], {n: np.stack([moment[n] for moment in moments]) for n in KINDS}
