"""The command ``evaluate RUN``: how good is it, has it collapsed? It writes report.json and report.png."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_ref.checkpoint import DEMO, LoadedGenerator, discriminator_of, load_discriminator, load_generator
from gan_ref.commands.command_line import Parser, command, output_file, require_range
from gan_ref.data import open_dataset, open_split, open_training
from gan_ref.devices import DEVICES, HELP, choose_device
from gan_ref.errors import UserError
from gan_ref.evaluation import classes
from gan_ref.evaluation.classifier import SIDE
from gan_ref.evaluation.inception import Features, load_inception
from gan_ref.evaluation.metrics import FEWEST, SampleMetrics, classifier_of
from gan_ref.evaluation.recovery import measure_recovery, recovery_text
from gan_ref.evaluation.report import draw_report, make_report, text
from gan_ref.files import write_atomically
from gan_ref.latents.classes import labels_like
from gan_ref.latents.samples import draw_samples
from gan_ref.run import error_rate, test_images

SAMPLES = 2000


def evaluate(
    generator: LoadedGenerator,
    data: str | None = None,
    count: int = SAMPLES,
    seed: int = 0,
    inception: str | Path | None = None,
    judge: str | None = None,
    pixels: bool = False,
    projection: int = 0,
) -> tuple[dict[str, Any], SampleMetrics, np.ndarray]:
    """The report on a generator, with what it was made from: the metrics and samples number 0 to count − 1.

    The data is what the generator was trained on unless given. There are at most as many samples as real ones
    to compare with. ``inception`` is a file of weights, or "" for the one in torch's cache. ``judge`` is a
    source of labelled images: a classifier of them gives the features.
    A conditional generator is asked for classes as often as the data has them. Whether it draws them is in
    the report under "asked". With ``pixels`` no classifier of the labels is trained: see SampleMetrics.
    ``projection`` is how many images of each kind are projected: see evaluation/recovery.py.
    """
    config = generator.config
    if config.points and (projection or (inception, judge) != (None, None)):
        raise UserError("--projection, --inception and --judge are for images, and this G makes points")
    if projection and generator.classes:
        raise UserError("--projection is for generators without classes; gan-ref project takes one --class")
    compared = config.replace(threads=None, **({"data": data, "label_factor": ""} if data else {}))
    train, test = open_training(compared), open_split(compared, "test")
    network = load_judge(inception, judge, train.shape[0], generator.device)
    metrics = SampleMetrics(train, test, count, 0, generator.device, network, pixels)
    asked = None
    if generator.classes and generator.classes == train.classes and train.labels is not None:
        asked = labels_like(train.labels, metrics.count, seed).numpy()
    samples = draw_samples(generator, metrics.count, seed, asked)
    report = {
        "checkpoint": str(generator.path),
        "step": generator.step,
        "recipe": config.recipe,
        "seed": seed,
        **make_report(metrics, samples),
    }
    if asked is not None and (metrics.classifier or train.points):
        report["asked"] = classes.score_classes(metrics, samples, asked)
    if config.labels_per_class:
        discriminator = load_discriminator(generator.path, generator.device)
        report["labels_per_class"] = config.labels_per_class
        images = test_images(config, generator.device)
        report["test_error"] = error_rate(discriminator, *images, config.batch_size)
    if projection:
        d = discriminator_of(generator)
        report["projection"] = measure_recovery(generator, d, metrics, samples, projection)
    return report, metrics, samples


def load_judge(
    inception: str | Path | None, source: str | None, channels: int, device: str | torch.device
) -> Features | None:
    """The network whose features measure: the published one, or a classifier of a source; None if neither.

    Raises UserError if both are given, or if the source has no labelled images.
    """
    if source is None:
        return None if inception is None else load_inception(inception or None, device)
    if inception is not None:
        raise UserError("--judge and --inception contradict each other: features come from one network")
    train, test = (open_dataset(source, SIDE, channels, split) for split in ("train", "test"))
    if train is None or train.points or train.labels is None:
        raise UserError(f"--judge: {source} has no labelled images")
    return classifier_of(train, test, device)


@command
def main(argv: Sequence[str] | None = None) -> None:
    description = "Measure how good the samples of a trained generator are, beside real data."
    parser = Parser(prog="gan-ref evaluate", description=description)
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="a run folder, a checkpoint or demo")
    add("--data", metavar="SOURCE", help="real samples to compare with [what it was trained on]")
    add("--samples", dest="count", type=int, default=SAMPLES, metavar="N",
        help=f"number of samples; more make steadier metrics [{SAMPLES}]")  # fmt: skip
    add("--out", metavar="FILE", help="report.json, with report.png beside it [in the run folder]")
    add("--seed", type=int, default=0, metavar="N", help="seed of the samples [0]")
    add("--inception", nargs="?", const="", metavar="FILE",
        help="use the published Inception network, of the weights in FILE [in torch's cache]")  # fmt: skip
    add("--judge", metavar="SOURCE",
        help="use a classifier of these labelled images, where the data has no labels")  # fmt: skip
    add("--pixels", action="store_true", help="train no classifier: what images without labels get, at once")
    add("--projection", type=int, default=0, metavar="N",
        help="also look for the z of N training images, held-out ones and samples [0]")  # fmt: skip
    add("--device", choices=DEVICES, default="auto", help=f"where the networks run; {HELP} [auto]")
    given = vars(parser.parse_args(argv))
    require_range("--samples", given["count"], FEWEST, 1_000_000)
    require_range("--projection", given["projection"], 0, 10_000)
    require_range("--seed", given["seed"], 0, 2**63 - 1)
    generator = load_generator(given.pop("checkpoint"), choose_device(given.pop("device")))
    folder = Path() if generator.path == DEMO else generator.path.parent
    out = output_file(given.pop("out") or folder / "report.json", (".json",))

    report, metrics, samples = evaluate(generator, **given)
    figure = draw_report(report, metrics, samples)
    with write_atomically(out) as part:
        written = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)
        part.write_text(written + "\n", encoding="utf-8")
    with write_atomically(out.with_suffix(".png")) as part:
        figure.savefig(part, dpi=110)
    print(text(report))
    if "asked" in report:
        print(classes.text(report["asked"]))
    if "test_error" in report:
        taught = f"taught by {report['labels_per_class']} labels each"
        print(f"test error of D's classes, {taught}: {report['test_error']:.2%}")
    if "projection" in report:
        print(recovery_text(report["projection"]))
    print(f"wrote {out} and {out.with_suffix('.png').name}")
