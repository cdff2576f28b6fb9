"""Quality against the number of training images, without and with augmentation: a picture and a table.

    python benchmarks/few_images.py [--counts 100,300,1000,3000,10000] [--device cuda] [--jobs 4]
    python benchmarks/few_images.py --data lfw.zip --image-size 64 --counts 300,1000,7701 --judge labelled.zip

Each run trains on the first so many images of a seeded order, for the same number of steps, as ``gan-ref
train`` in a process of its own, ``--jobs`` at a time. The same command goes on after an interruption. Samples
are compared with the whole data: the Fréchet distance over the features of a classifier of its labels, or of
``--judge`` or ``--inception``; without any, precision and recall over pixels. Beside it stands whether G
copies: the median distance, over pixels, of a sample to the nearest image it was trained on, and of that
image's unseen kin, real images that no run was trained on.
"""

import argparse
import json
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gan_ref.checkpoint import load_generator
from gan_ref.commands.compare import Trial, play
from gan_ref.commands.evaluate import load_judge
from gan_ref.data import Dataset, open_dataset
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.evaluation.neighbours import nearest_neighbours
from gan_ref.files import write_atomically
from gan_ref.latents.samples import draw_samples

Results = dict[str, dict[str, dict[str, Any]]]  # augmentation → "count, seed" → numbers

NEAREST = 500  # samples whose nearest training image is looked for
SHOWN = ("frechet", "precision", "recall", "reverse_kl", "pixel_precision", "pixel_recall")
COLUMNS = {
    "frechet": "Fréchet",
    "precision": "precision",
    "recall": "recall",
    "pixel_precision": "precision, pixels",
    "pixel_recall": "recall, pixels",
    "nearest": "to nearest training image",
    "unseen": "of real images",
}


def write_subset(data: Dataset, order: np.ndarray, count: int, path: Path) -> None:
    """The first ``count`` images of the order, as a .npy."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as part, part.open("wb") as file:
            np.save(file, data.samples[np.sort(order[:count])])


def distance(samples: np.ndarray, training: np.ndarray) -> float:
    """The median distance of the first ``NEAREST`` samples to their nearest training image."""
    return round(float(np.median(nearest_neighbours(samples[:NEAREST], training)[1])), 3)


def numbers(results: Results, name: str, what: str) -> dict[int, list[float]]:
    """Of one augmentation: the number of images → one value for each seed."""
    found: dict[int, list[float]] = {}
    for key, row in results[name].items():
        if what in row:
            found.setdefault(int(key.split(",")[0]), []).append(row[what])
    return dict(sorted(found.items()))


def table(results: Results) -> str:
    """A row for each number of images and augmentation: the mean over the seeds."""
    columns = {w: title for w, title in COLUMNS.items() if any(numbers(results, n, w) for n in results)}
    lines = [f"| images | augmentation | {' | '.join(columns.values())} |"]
    lines.append("|---:|---|" + "---:|" * len(columns))
    counts = sorted({count for name in results for count in numbers(results, name, "nearest")})
    for count in counts:
        for name in results:
            values = [numbers(results, name, what).get(count, []) for what in columns]
            if any(values):
                cells = [f"{statistics.mean(value):.2f}" if value else "" for value in values]
                lines.append(f"| {count:,} | {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(results: Results, path: Path) -> None:
    """Two panels over the number of images: quality, and the distance to the nearest training image."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(11, 4.5), dpi=90, layout="constrained")
    left, right = figure.subplots(1, 2)
    by_frechet = any(numbers(results, name, "frechet") for name in results)
    quality = "frechet" if by_frechet else "pixel_recall"
    panels = (
        (left, quality, COLUMNS[quality]),
        (right, "nearest", "median distance to nearest training image"),
    )
    for axes, what, title in panels:
        for k, name in enumerate(results):
            found = numbers(results, name, what)
            means = [statistics.mean(values) for values in found.values()]
            axes.plot(list(found), means, marker="o", color=f"C{k}", label=name)
            for count, values in found.items():
                axes.plot([count] * len(values), values, ".", color=f"C{k}", alpha=0.4)
        axes.set(title=title, xlabel="training images", xscale="log")
        counts = sorted({count for name in results for count in numbers(results, name, what)})
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
        axes.grid(alpha=0.25)
    if by_frechet:
        left.set_yscale("log")
        left.yaxis.set_major_formatter(ScalarFormatter())
        left.yaxis.set_minor_formatter(ScalarFormatter())
    unseen = next(iter(results))
    floor = {count: statistics.mean(v) for count, v in numbers(results, unseen, "unseen").items()}
    right.plot(list(floor), list(floor.values()), "k--", linewidth=1, label="real images that G never saw")
    for axes in (left, right):
        axes.legend(fontsize=8)
    with write_atomically(path) as part:
        figure.savefig(part, format="png")


def trials_of(given: argparse.Namespace, names: Iterable[str], counts: Iterable[int]) -> dict[tuple, Trial]:
    flags = ["--image-size", given.image_size, "--steps", str(given.steps), "--device", given.device]
    flags += ["--threads", "1", "--log-every", "100", "--sample-every", "1000", "--checkpoint-every", "1000"]
    flags += given.flags.split()
    trials = {}
    for seed in range(given.seeds):
        for count in counts:
            for name in names:
                more = [] if name == "none" else ["--augment", name]
                folder = given.out / "runs" / f"{count}-{''.join(c for c in name if c.isalnum())}-{seed}"
                data = str(subset(given, count, seed).resolve())
                trials[name, count, seed] = Trial(given.recipe, seed, folder, ("--data", data, *flags, *more))
    return trials


def subset(given: argparse.Namespace, count: int, seed: int) -> Path:
    return given.out / "data" / f"{count}-images-{seed}.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--data", default="faces", help="faces, or a path as for train.py")
    add("--image-size", default="32")
    add("--counts", default="100,300,1000,3000,10000", help="numbers of training images")
    add("--augmentations", default="none;DiffAugment;AdaptiveAugment", help="with semicolons between")
    add("--recipe", default="baseline")
    add("--flags", default="", help="further flags of train.py, the same for all, as in '--flip --width 32'")
    add("--steps", type=int, default=7500)
    add("--seeds", type=int, default=1)
    add("--samples", type=int, default=2000)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--jobs", type=int, default=1, help="runs at a time")
    add("--inception", nargs="?", const="", metavar="FILE", help="judge by the published Inception network")
    add("--judge", metavar="SOURCE", help="judge by a classifier of these labelled images")
    add("--out", type=Path, default=Path("runs/few"))
    given = parser.parse_args()
    names = [name.strip() for name in given.augmentations.split(";")]
    data, test = (open_dataset(given.data, given.image_size, split=split) for split in ("train", "test"))
    assert data is not None
    network = load_judge(given.inception, given.judge, data.shape[0], given.device)  # or fail before training
    orders = {seed: np.random.default_rng([7, seed]).permutation(len(data)) for seed in range(given.seeds)}
    counts = sorted({min(int(count), len(data)) for count in given.counts.split(",")})
    for seed, order in orders.items():
        for count in counts:
            write_subset(data, order, count, subset(given, count, seed))

    trials = trials_of(given, names, counts)
    path = given.out / "few_images.json"
    try:
        play(list(trials.values()), given.steps, given.jobs)
    finally:
        results: Results = json.loads(path.read_text())["results"] if path.exists() else {}
        judge: SampleMetrics | None = None
        for (name, count, seed), trial in trials.items():
            known = results.setdefault(name, {}).get(f"{count}, {seed}", {})
            if known.get("steps") == given.steps or not trial.succeeded(given.steps):
                continue
            if judge is None:
                judge = SampleMetrics(data, test, given.samples, 0, given.device, network)
            samples = draw_samples(load_generator(trial.folder, given.device), judge.count, seed=0)
            values = judge(samples)
            training = np.load(subset(given, count, seed), mmap_mode="r")
            row: dict[str, Any] = {what: round(values[what], 4) for what in SHOWN if what in values}
            row |= {"nearest": distance(samples, training), "steps": given.steps}
            unseen = test.samples if test is not None else data.samples[orders[seed][count:]]
            if len(unseen):
                row["unseen"] = distance(unseen, training)
            results[name][f"{count}, {seed}"] = row
        results = {name: rows for name, rows in results.items() if rows}
        about: dict[str, Any] = {key: str(value) for key, value in vars(given).items()}
        if judge is not None:
            about["real"] = {what: v for what, v in judge.reference.items() if what in SHOWN}
        elif path.exists():
            about["real"] = json.loads(path.read_text()).get("real", {})
        for ending, content in (
            ("json", json.dumps(about | {"results": results}, indent=1) + "\n"),
            ("md", table(results)),
        ):
            with write_atomically(path.with_suffix(f".{ending}")) as part:
                part.write_text(content, encoding="utf-8")
        if results:
            draw(results, path.with_suffix(".png"))
        print(table(results), end="")


if __name__ == "__main__":
    main()
