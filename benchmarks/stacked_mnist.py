"""How many of the 1,000 modes of stacked digits does each way to train find? One command, a table.

    python benchmarks/stacked_mnist.py MNIST-FOLDER [--steps 20000] [--seeds 3] [--device cuda] [--jobs 4]

Every run is ``gan-ref train`` in a process of its own, ``--jobs`` at a time. The same command goes on after
an interruption. 26,000 samples of each run (VEEGAN's count) go to a classifier of digits; a mode is found if
one sample is in it, and the KL divergence is from the samples' modes to the data's.
"""

import argparse
import json
import statistics
from pathlib import Path

import torch

from gan_ref.checkpoint import load_generator
from gan_ref.commands.compare import Trial, play
from gan_ref.data import open_dataset
from gan_ref.data.stacked import STACKED
from gan_ref.evaluation.metrics import classifier_of
from gan_ref.evaluation.modes import mode_coverage
from gan_ref.files import write_atomically
from gan_ref.latents.samples import draw_samples

SAMPLES = 26_000
PUBLISHED = {  # modes, KL: Srivastava et al. 2017 (VEEGAN), table 1
    "DCGAN (VEEGAN's)": (99, 3.40),
    "ALI": (16, 5.40),
    "unrolled GAN": (48.7, 4.32),
    "VEEGAN": (150, 2.95),
}
SETTINGS: dict[str, tuple[str, ...]] = {  # a recipe, and flags over it
    "dcgan": ("dcgan",),
    "dcgan, packs of 2": ("dcgan", "--pack", "2"),
    "dcgan, packs of 4": ("dcgan", "--pack", "4"),
    "dcgan, minibatch discrimination": ("dcgan", "--minibatch-discrimination"),
    "unrolled": ("unrolled",),
    "wgan-gp": ("wgan-gp",),
    "r3gan": ("r3gan",),
    "r3gan, nearest": ("r3gan", "--upsample", "nearest"),
    "baseline": ("baseline",),
}


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """The published rows, and ours: the mean over the seeds ± their standard deviation."""
    lines = ["| | modes of 1,000 | KL |", "|---|---:|---:|"]
    lines += [f"| {name}, published | {modes:g} | {kl:.2f} |" for name, (modes, kl) in PUBLISHED.items()]
    for name, seeds in results.items():
        cells = []
        for what, form in (("modes", ".0f"), ("kl", ".3f")):
            values = [row[what] for row in seeds.values()]
            spread = f" ± {statistics.pstdev(values):{form}}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):{form}}{spread}")
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("digits", help="the folder of MNIST's files")
    parser.add_argument("--settings", default="all", help="names of SETTINGS, with semicolons between")
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path("runs/stacked"))
    given = parser.parse_args()
    names = list(SETTINGS) if given.settings == "all" else [n.strip() for n in given.settings.split(";")]
    source = STACKED + str(Path(given.digits).resolve())
    data, test = (open_dataset(source, split=split) for split in ("train", "test"))
    assert data is not None and data.labels is not None
    judge = classifier_of(data, test, given.device)

    flags = ["--data", source, "--steps", str(given.steps), "--device", given.device, "--image-size", "32"]
    flags += ["--width", str(given.width), "--batch-size", str(given.batch_size), "--threads", "1"]
    flags += ["--sample-every", "2000", "--checkpoint-every", "2000", "--log-every", "100"]
    trials = {
        (name, seed): Trial(
            SETTINGS[name][0],
            seed,
            given.out / "runs" / f"{name.replace(', ', '-').replace(' ', '-')}-{seed}",
            (*SETTINGS[name][1:], *flags),
        )
        for seed in range(given.seeds)
        for name in names
    }
    try:
        play(list(trials.values()), given.steps, given.jobs)
    finally:
        path = given.out / "stacked.json"
        results = json.loads(path.read_text())["results"] if path.exists() else {}
        for (name, seed), trial in trials.items():
            if not trial.succeeded(given.steps):
                continue
            seen = results.setdefault(name, {}).get(str(seed), {})
            if seen.get("steps") != given.steps:
                samples = draw_samples(load_generator(trial.folder, given.device), SAMPLES, seed=0)
                modes = judge(samples)[1]["class"].argmax(1)
                found = mode_coverage(modes, len(data.classes), data.labels)
                kl = round(found.reverse_kl, 4)
                results[name][str(seed)] = {"modes": found.modes, "kl": kl, "steps": given.steps}
        about = {"samples": SAMPLES, "steps": given.steps, "width": given.width, "device": given.device}
        about |= {"batch_size": given.batch_size, "digits_right": judge.accuracy, "results": results}
        given.out.mkdir(parents=True, exist_ok=True)
        for file, content in (
            (path, json.dumps(about, indent=1) + "\n"),
            (given.out / "stacked.md", table(results)),
        ):
            with write_atomically(file) as part:
                part.write_text(content, encoding="utf-8")
        print(table(results), end="")


if __name__ == "__main__":
    main()
