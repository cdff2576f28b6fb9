"""The film of a run in the plane: a picture at equal rounds, and a movie of them all at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from gan_ref.pictures.movies import write_movie
from gan_ref.pictures.pages import write_png


class Film:
    """``frames/NNNNNN.png`` at equal rounds of a run, and ``training.gif`` made of them at its end.

    There is a frame every 2^k rounds, with the k that gives 64 to 128 of them. A lengthened run takes a
    larger k, whose rounds are among those already drawn. Frames after round ``start`` are removed: a run that
    died past its checkpoint left them.
    """

    def __init__(self, folder: Path, start: int, rounds: int):
        self.folder, self.rounds = folder, rounds
        self.every = 1 << max(0, (rounds // 64).bit_length() - 1)
        for number, path in self._frames():
            if number > start:
                path.unlink()

    def wants(self, number: int) -> bool:
        return number % self.every == 0 or number == self.rounds

    def add(self, number: int, picture: np.ndarray) -> None:
        write_png(self.folder / "frames" / f"{number:06}.png", picture)

    def develop(self, fps: float = 20.0) -> Path:
        """Write training.gif, its last frame held for a second and a half."""
        paths = [path for number, path in self._frames() if self.wants(number)]
        paths += [paths[-1]] * int(1.5 * fps)
        write_movie(self.folder / "training.gif", (np.asarray(Image.open(path)) for path in paths), fps)
        return self.folder / "training.gif"

    def _frames(self) -> list[tuple[int, Path]]:
        return sorted((int(path.stem), path) for path in (self.folder / "frames").glob("[0-9]*.png"))
