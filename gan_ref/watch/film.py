"""The film of a run, of its sample pages or, in the plane, of pictures drawn for it: what its z become."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from gan_ref.errors import UserError
from gan_ref.files import read_untrusted
from gan_ref.pictures import pages
from gan_ref.pictures.movies import write_movie
from gan_ref.watch.moments import Moment, write_moment

Pages = Sequence[tuple[int, Path]]  # rounds, and the picture after each, in order


class Film:
    """``frames/NNNNNN.png`` at equal rounds of a run in the plane, and ``training.gif`` of them at its end.
    Beside each frame, ``moments/NNNNNN.npz`` has the numbers of the laboratory page.

    There is a frame every 2^k rounds, with the k that gives 64 to 128 of them. A lengthened run takes a
    larger k, whose rounds are among those already drawn. Frames after round ``start`` are removed: a run that
    died past its checkpoint left them.
    """

    def __init__(self, folder: Path, start: int, rounds: int):
        self.folder, self.rounds = folder, rounds
        self.every = 1 << max(0, (rounds // 64).bit_length() - 1)
        for number, path in numbered_pages(folder / "frames"):
            if number > start:
                path.unlink()
                (folder / "moments" / f"{path.stem}.npz").unlink(missing_ok=True)

    def wants(self, number: int) -> bool:
        return number % self.every == 0 or number == self.rounds

    def add(self, number: int, picture: np.ndarray, moment: Moment) -> None:
        write_moment(self.folder / "moments" / f"{number:06}.npz", moment)
        pages.write_png(self.folder / "frames" / f"{number:06}.png", picture)

    def develop(self) -> None:
        wanted = [page for page in numbered_pages(self.folder / "frames") if self.wants(page[0])]
        write_film(self.folder / "training.gif", wanted, fps=20, captions=False)


def pages_of(folder: Path, most: int = 240) -> tuple[Pages, bool]:
    """At most so many pictures of a run, evenly chosen, the first and last among them, and whether they want
    the step written on them. Raises UserError if there are not two.
    """
    drawn = numbered_pages(folder / "frames")
    found = drawn or numbered_pages(folder / "samples")
    if len(found) < 2:
        raise UserError(f"{folder} has no two pages in samples/ to make a film of: is it a run folder?")
    chosen = np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int)
    return [found[i] for i in chosen], not drawn


def write_film(out: Path, found: Pages, fps: float, scale: int = 1, captions: bool = True) -> None:
    """Write the pictures as a movie, each over its step if asked, the last one held for a second and a half.

    Raises UserError for a picture that is damaged, or that has another size than the first.
    """
    shape = read_page(found[0][1]).shape

    def frames() -> Iterator[np.ndarray]:
        for number, path in [*found, *[found[-1]] * int(1.5 * fps)]:
            picture = read_page(path)
            if picture.shape != shape:
                raise UserError(f"{path} has another size than {found[0][1].name}: it is not of this run")
            picture = pages.upscale(picture, scale)
            height = pages.LABEL * scale
            yield pages.label(picture[None], [f"step {number:,}"], height)[0] if captions else picture

    write_movie(out, frames(), fps)


def numbered_pages(folder: Path) -> Pages:
    return sorted((int(path.stem), path) for path in folder.glob("[0-9]*.png") if path.stem.isdecimal())


def read_page(path: Path) -> np.ndarray:
    """A picture that the run wrote: uint8 (H, W, C)."""

    def load(path: Path) -> np.ndarray:
        with Image.open(path, formats=["PNG"]) as image:
            return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))

    picture = read_untrusted(path, load, "a page of a run")
    return picture[..., None] if picture.ndim == 2 else picture
