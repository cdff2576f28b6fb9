"""`python -m gan_ref.evaluate RUN`: how good is it, and has it collapsed? report.json and report.png."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_ref import imaging, sample
from gan_ref.checkpoint import LoadedGenerator, load_classifier, load_generator
from gan_ref.data import open_dataset
from gan_ref.data.mixtures import MIXTURES
from gan_ref.errors import Parser, UserError, command
from gan_ref.evaluation.inception import load_inception
from gan_ref.evaluation.report import draw_report, make_report, text
from gan_ref.evaluation.scores import FEWEST, Scorer
from gan_ref.training import error_rate, test_images

SAMPLES = 2000


def draw(generator: LoadedGenerator, count: int, seed: int = 0) -> np.ndarray:
    """Samples 0 … count − 1 of a seed: uint8 (N, H, W, C), or points float32 (N, 2)."""
    if generator.config.data in MIXTURES:
        z = sample.latents(seed, generator.config.latent_dim, count)
        return torch.cat([x.float().cpu() for x in imaging.forward(generator.module, z)]).numpy()
    return np.stack(list(sample.images(generator, count, seed)))


def evaluate(
    generator: LoadedGenerator,
    data: str | None = None,
    count: int = SAMPLES,
    seed: int = 0,
    inception: str | Path | None = None,
    cache_dir: Path | None = None,
    progress: bool = True,
) -> tuple[dict[str, Any], Scorer, np.ndarray]:
    """The report on a generator, with what it was made from: the scorer and the samples.

    The data is what the generator was trained on unless given. There are at most as many samples as real ones
    to compare with. ``inception`` is a file of weights, or "" for the one in torch's cache.
    """
    config = generator.config
    source = data or config.data
    if (source in MIXTURES) != (config.data in MIXTURES):
        raise UserError(f"--data {source}: G was trained on {config.data}; points and images do not compare")
    channels = None if source in MIXTURES else generator.shape[0]
    opened = [
        open_dataset(source, config.image_size or 32, channels, split, cache_dir, progress)
        for split in ("train", "test")
    ]
    network = None if inception is None else load_inception(inception or None, generator.device)
    scorer = Scorer(*opened, count, 0, generator.device, network, cache_dir, progress)
    samples = draw(generator, scorer.count, seed)
    tested = {}
    if config.labels_per_class:
        classifier = load_classifier(generator.path, generator.device)
        error = error_rate(classifier, *test_images(config, generator.device))
        tested = {"labels_per_class": config.labels_per_class, "test_error": error}
    report = {
        "checkpoint": str(generator.path),
        "step": generator.step,
        "recipe": config.recipe,
        "seed": seed,
        **tested,
        **make_report(scorer, samples),
    }
    return report, scorer, samples


def arguments() -> Parser:
    description = "Scores of a trained generator, and of real data beside them."
    parser = Parser(prog="python -m gan_ref.evaluate", description=description)
    add = parser.add_argument
    add("checkpoint", help="a checkpoint.pt or a run folder")
    add("--data", metavar="SOURCE", help="real samples to compare with [what it was trained on]")
    add("--samples", type=int, default=SAMPLES, metavar="N", help=f"how many; more are steadier [{SAMPLES}]")
    add("--out", metavar="FILE", help="report.json, with report.png beside it [in the run folder]")
    add("--seed", type=int, default=0, metavar="N", help="of the samples [0]")
    add("--inception", nargs="?", const="", metavar="FILE",
        help="features of the published Inception network: its weights [those in torch's cache]")  # fmt: skip
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the networks run [auto]")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    given = arguments().parse_args(argv)
    imaging.check("--samples", given.samples, FEWEST, 1_000_000)
    imaging.check("--seed", given.seed, 0, 2**63 - 1)
    generator = load_generator(given.checkpoint, imaging.choose_device(given.device))
    out = imaging.check_output(given.out or generator.path.parent / "report.json", (".json",))

    report, scorer, samples = evaluate(generator, given.data, given.samples, given.seed, given.inception)
    figure = draw_report(report, scorer, samples)
    written = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
    with imaging.whole(out) as temporary:
        temporary.write_text(written + "\n", encoding="utf-8")
    with imaging.whole(out.with_suffix(".png")) as temporary:
        figure.savefig(temporary, dpi=110)
    print(text(report))
    if "test_error" in report:
        taught = f"taught by {report['labels_per_class']} labels each"
        print(f"test error of D's classes, {taught}: {report['test_error']:.2%}")
    print(f"{out} and {out.with_suffix('.png').name} written")


if __name__ == "__main__":
    sys.exit(main())
