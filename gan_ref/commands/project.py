"""The command ``project RUN PICTURE… --out picks.npy``: the z whose samples are nearest to pictures."""

import argparse
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from gan_ref.checkpoint import LoadedGenerator, discriminator_of, load_generator
from gan_ref.commands.command_line import Parser, command, output_file, require_range
from gan_ref.data.decode import decode
from gan_ref.devices import DEVICES, HELP, choose_device
from gan_ref.errors import UserError, printable
from gan_ref.files import read_untrusted
from gan_ref.latents.classes import of_class
from gan_ref.latents.numbers import save_z
from gan_ref.latents.projection import Projection, project
from gan_ref.pictures import pages

COLUMNS, GAP = 8, 2


def project_files(
    generator: LoadedGenerator, files: Sequence[str | os.PathLike[str]], starts: int = 4, steps: int = 200
) -> tuple[np.ndarray, Projection]:
    """The pictures in the files as G's images are, uint8 (N, H, W, C), and their projection.

    Raises UserError for a generator of points, or a file that is no image.
    """
    if generator.config.points:
        raise UserError("this generator makes points: there is no picture to project")
    require_range("the number of pictures", len(files), 1, 1000)
    require_range("--starts", starts, 1, 64)
    require_range("--steps", steps, 1, 100_000)
    channels, height, width = generator.shape
    read = partial(read_picture, size=(height, width), channels=channels)
    pictures = np.stack([read_untrusted(file, read, "an image that can be read") for file in files])
    return pictures, project(generator, discriminator_of(generator), pictures, starts, steps)


def read_picture(path: Path, size: tuple[int, int], channels: int) -> np.ndarray:
    with open(path, "rb") as file:
        return decode(file, size, channels)


def draw_page(pictures: np.ndarray, found: Projection, scale: int) -> np.ndarray:
    """Each picture, its reconstruction below it, and below both the error in numbers."""
    gap = np.full((len(pictures), GAP, *pictures.shape[2:]), 255, np.uint8)
    pairs = pages.upscale(np.concatenate([pictures, gap, found.images], axis=1), scale)
    columns = min(COLUMNS, len(pairs))
    cells = pages.label(pairs, [f"{error:.3f}" for error in found.errors])
    return pages.grid(cells, -(-len(pairs) // columns), columns, 2 * GAP)


def arguments() -> Parser:
    description = "Find the z whose samples are nearest to pictures, by descent through G and D."
    parser = Parser(prog="gan-ref project", description=description, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder or a checkpoint")
    add("files", metavar="PICTURE", nargs="+", help="image files; each is cropped to G's size, as data is")
    out = "a .npy of z, for walk --z; a page .png is put beside it"
    add("--out", required=True, metavar="FILE", help=out)
    add("--class", dest="label", metavar="NAME", help="the class that a conditional G draws [its first]")
    add("--starts", type=int, metavar="N", help="random z that the search begins at, the nearest of 256 [4]")
    add("--steps", type=int, metavar="N", help="steps of Adam from each [200]")
    add("--scale", type=int, default=2, metavar="K", help="enlarge the page's pixels to KxK equal ones [2]")
    add("--device", choices=DEVICES, default="auto", help=f"where the networks run; {HELP} [auto]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = vars(arguments().parse_args(argv))
    out, scale, files = output_file(given.pop("out"), (".npy",)), given.pop("scale"), given.pop("files")
    require_range("--scale", scale, 1, 64)
    generator = load_generator(given.pop("checkpoint"), choose_device(given.pop("device")))
    generator = of_class(generator, given.pop("label", None))
    pictures, found = project_files(generator, files, **given)
    save_z(out, found.z)
    pages.write_png(out.with_suffix(".png"), draw_page(pictures, found, scale))
    for file, error, near in zip(files, found.errors, found.nearest):
        print(f"{printable(file)}: error {error:.3f}; the nearest of 256 samples has {near:.3f}")
    print(f"wrote {out} and {out.with_suffix('.png').name}")
