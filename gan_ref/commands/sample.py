"""The command ``sample RUN --out page.png``: samples, on one page or a file each."""

import argparse
import math
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from gan_ref.checkpoint import load_generator
from gan_ref.commands.command_line import Parser, command, integers, output_file, require_range
from gan_ref.data import open_training
from gan_ref.devices import DEVICES, HELP, choose_device
from gan_ref.errors import UserError
from gan_ref.latents.classes import find_class, require_classes
from gan_ref.latents.numbers import numbered_z, save_z
from gan_ref.latents.samples import FinishedGenerator, draw_samples, iterate_samples
from gan_ref.pictures import pages, plane

GAP = 2  # pixels between the pictures on a page
MAX_SIDE = 8192  # pixels of a page


def write(
    generator: FinishedGenerator,
    out: str | os.PathLike[str] | None = None,
    each: str | os.PathLike[str] | None = None,
    count: int | None = None,
    only: Sequence[int] = (),
    seed: int | None = None,
    columns: int | None = None,
    scale: int = 1,
    numbers: bool = False,
    label: str | None = None,
    save_z_to: str | os.PathLike[str] | None = None,
) -> str:
    """Write samples of a seed as the page ``out``, as files ``each``/NNNNNN.png, as latents, or as all three.

    They are number 0 to count − 1, 64 unless given, or those in ``only``. Without a seed it is the run's own,
    so that the page shows what the pages of its training show. Points are drawn in one picture. With a class
    as ``label`` all samples are of it, and with "each" every class has a row of them, 8 unless given. Returns
    a line for each thing written. Raises UserError for values that make none.
    """
    points = generator.config.points
    side = (plane.SCATTER if points else max(generator.shape[1:])) * scale
    seed = int(generator.config.seed) if seed is None else seed
    if not (out or each or save_z_to):
        raise UserError("nothing to write: give --out page.png, --each FOLDER or --save-z FILE.npy")
    if only and count is not None:
        raise UserError("--only says which samples and so how many: leave out --count")
    require_range("--only", only, 0, 2**63 - 1)
    each_class = label == "each"
    row = len(only) if only else (8 if each_class else 64) if count is None else count
    require_range("--count", row * max(1, len(generator.classes) * each_class), 1, 1_000_000)
    chosen, labels = only or range(row), choose_classes(generator.classes, label, row)
    chosen = [*chosen] * (len(generator.classes) if each_class else 1)
    names = range(len(chosen)) if each_class else chosen  # of files
    count, columns = len(chosen), row if each_class and columns is None else columns
    if points and (each or numbers):
        raise UserError("--each and --numbers are for images, and this generator makes points: use --out")
    require_range("--seed", seed, 0, 2**63 - 1)
    require_range("--scale", scale, 1, 256)
    if columns is not None:
        require_range("--columns", columns, 1, count)
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    cells = 1 if points or out is None else max(rows, columns)
    if cells * (side + GAP + pages.LABEL * numbers) > MAX_SIDE:
        raise UserError(f"{count} samples make a picture of more than {MAX_SIDE} pixels a side: "
                        "lower --count or --scale, or write single files with --each FOLDER")  # fmt: skip
    if out:
        output_file(out, (".png",))
    if each:
        output_file(Path(each) / "000000.png", (".png",))
    if save_z_to:
        output_file(save_z_to, (".npy",))

    lines = []
    if each:
        images = iterate_samples(generator, chosen, seed, labels)
        for i, image in zip(names, tqdm(images, "sample", count, disable=None, leave=False)):
            pages.write_png(Path(each) / f"{i:06d}.png", pages.upscale(image, scale))
        lines.append(f"{each}: {count} pictures, {names[0]:06d}.png to {names[-1]:06d}.png")
    if out:
        samples = draw_samples(generator, chosen, seed, labels)
        if points:
            page = plane.draw_scatter(samples[None], open_training(generator.config).means, scale)
        else:
            samples = pages.upscale(samples, scale)
            samples = pages.label(samples, chosen) if numbers else samples
            page = pages.grid(samples, rows, columns, GAP)
        pages.write_png(out, page)
        lines.append(f"{out}: {count} samples on a page of {page.shape[1]}x{page.shape[0]}")
    if save_z_to:
        save_z(save_z_to, numbered_z(seed, chosen, generator.config.latent_dim))
        lines.append(f"{save_z_to}: {count} latents of {generator.config.latent_dim} numbers")
    return "\n".join(lines)


def choose_classes(known: Sequence[str], label: str | None, count: int) -> list[int] | None:
    """The class of each sample, ``count`` of each that is meant; None leaves it to ``iterate_samples``."""
    if label is None:
        return None
    require_classes(known, "--class")
    asked = range(len(known)) if label == "each" else [find_class(label, known)]
    return [k for k in asked for _ in range(count)]


def arguments() -> Parser:
    """The flags; one that is not given is left out, so that ``write`` has the only defaults."""
    description = "Draw pictures from a trained generator, on one page or a file each."
    parser = Parser(prog="gan-ref sample", description=description, argument_default=argparse.SUPPRESS)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder, a checkpoint or demo")
    add("--out", metavar="FILE", help="a .png with all samples on one page")
    add("--each", metavar="FOLDER", help="a folder for single files, 000000.png and on")
    add("--count", type=int, metavar="N", help="how many; a larger count begins with the same samples [64]")
    add("--only", type=integers, metavar="I[,J,...]", help="the samples of these numbers")
    add("--save-z", dest="save_z_to", metavar="FILE", help="a .npy with the z of each sample, for walk --z")
    add("--seed", type=int, metavar="N", help="seed of the samples [the run's own, as on its training pages]")
    add("--columns", type=int, metavar="K", help="columns of the page [as many as rows]")
    add("--scale", type=int, metavar="K", help="enlarge every pixel to KxK equal ones [1]")
    asked = "a class, or a row of --count [8] samples for each"
    add("--class", dest="label", metavar="NAME|N|each", help=asked)
    add("--numbers", action="store_true", help="print its number under each sample")
    add("--device", choices=DEVICES, default="auto", help=f"where the generator runs; {HELP} [auto]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = vars(arguments().parse_args(argv))
    generator = load_generator(given.pop("checkpoint"), choose_device(given.pop("device")))
    print(write(generator, **given))
