"""Quality against seconds of training: Fréchet, precision, recall and coverage of named settings.

    python benchmarks/quality.py --settings dcgan,baseline [--seeds 3] [--marks 30,60,120] [--out FILE]
    python benchmarks/quality.py --settings all --rounds 2500,7500 --device cuda --jobs 8

Every setting trains on the same data with networks of the same size, and 4,000 samples are measured by the
same judge after so many seconds. The clock counts the processor seconds of training alone, divided by the
number of threads, so that a busy machine and the measuring do not count. With --rounds it is so many rounds
instead. "tutorial" is the plain loop of benchmarks/training.py. What is in the JSON file already is kept;
FILE with .png is the picture. ``--settings all`` takes every one; see SETTINGS.
"""

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training import plain_networks

from gan_ref import recipes
from gan_ref.config import Config
from gan_ref.data import Batches, open_split
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.files import write_atomically
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import forward_batch, generate
from gan_ref.loop import play_round
from gan_ref.pictures.pages import to_uint8
from gan_ref.run import Run, choose_settings, use_fast_arithmetic

SAMPLES = 4000
SHOWN = ("frechet", "precision", "recall", "reverse_kl", "fools", "sees_fakes", "sees_reals")
THREADS: dict[str, Any] = {"threads": torch.get_num_threads()}
NARROW: dict[str, Any] = {"image_size": 32, "width": 32, "batch_size": 64, "steps": 7500}
WIDE = NARROW | {"width": 64, "batch_size": 32, "steps": 4000}  # as long on a CPU
SIZE = NARROW | THREADS  # where a setting says nothing else
FALLS: dict[str, Any] = {"schedules": ("Ramp(of='lr', start=0.5, last=0.01)",)}


def adam(lr: float, beta1: float = 0.0, beta2: float = 0.9) -> dict[str, Any]:
    return {"lr_g": lr, "lr_d": lr, "beta1": beta1, "beta2": beta2}


HINGE: dict[str, Any] = {"objective": "Hinge", "norm_d": "spectral"}
FAST = HINGE | adam(24e-4, 0.0, 0.99) | FALLS
SETTINGS: dict[str, dict[str, Any]] = {
    # a ladder: each rung changes one thing
    "dcgan": recipes.settings("dcgan"),
    "hinge": HINGE | adam(2e-4),
    "hinge-8e-4": HINGE | adam(8e-4),
    "hinge-24e-4-falls": FAST,
    "wide": FAST | WIDE,
    "wide-z-64": FAST | WIDE | {"latent_dim": 64},
    "baseline": recipes.settings("baseline") | WIDE | {"steps": 4500},  # with 16e-4, for photographs' sake
    # beside it
    "dcgan-wide": recipes.settings("dcgan") | WIDE,
    "wide-32e-4": FAST | WIDE | adam(32e-4, 0.0, 0.99),
    "wide-beta2-0.9": FAST | WIDE | {"beta2": 0.9},
    "wide-relativistic": FAST | WIDE | {"objective": "Relativistic"},
    "wide-nearest": FAST | WIDE | {"upsample": "nearest"},
    "wide-r1": FAST | WIDE | {"penalties": ("R1(weight=0.01)",), "steps": 2300},
}


class Ours:
    """A run of these settings."""

    def __init__(self, settings: dict[str, Any], seed: int, device: str):
        config, self.dataset = choose_settings(Config(**{**SIZE, **settings, "seed": seed, "device": device}))
        use_fast_arithmetic(config)
        self.run, self.turns = Run(config, self.dataset), None
        self.z = numbered_z(seed, range(SAMPLES), config.latent_dim).to(self.run.device)
        self.steps = config.steps  # a shorter setting is measured at its end

    def advance(self) -> None:
        self.turns = play_round(self.run)

    def samples(self) -> np.ndarray:
        module = self.run.sampling_generator()
        return np.concatenate(list(generate(module, [self.z], forward_batch(self.dataset.shape[-1]))))

    def balance(self) -> dict[str, float]:
        """Who fools whom in the last round."""
        from gan_ref.watch.metrics import measure_round

        values = measure_round(self.run.game, *self.turns) if self.turns else {}
        return {name: value for name, value in values.items() if name in SHOWN}


class Tutorial:
    """The plain loop, on the same data and with networks of the same size."""

    def __init__(self, settings: dict[str, Any], seed: int, device: str):
        config, dataset = choose_settings(Config(**{**SIZE, "seed": seed, "device": device}))
        torch.manual_seed(seed)
        self.g, self.d = (network.to(device) for network in plain_networks(dataset.shape[1], config.width))
        for network in (self.g, self.d):
            for layer in network.modules():
                if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                    torch.nn.init.normal_(layer.weight, 0.0, 0.02)
        adam = [torch.optim.Adam(network.parameters(), 2e-4, (0.5, 0.999)) for network in (self.g, self.d)]
        self.g_adam, self.d_adam = adam
        self.data, self.config, self.device = (
            Batches(dataset, config.batch_size, seed, device),
            config,
            device,
        )
        self.loss, self.steps = torch.nn.BCEWithLogitsLoss(), float("inf")

    def advance(self) -> None:
        x, _ = self.data.next()
        ones, zeros = torch.ones(len(x), device=self.device), torch.zeros(len(x), device=self.device)
        fake = self.g(torch.randn(len(x), self.config.latent_dim, 1, 1, device=self.device))
        self.d_adam.zero_grad()
        (self.loss(self.d(x.contiguous()), ones) + self.loss(self.d(fake.detach()), zeros)).backward()
        self.d_adam.step()
        self.g_adam.zero_grad()
        self.loss(self.d(fake), ones).backward()
        self.g_adam.step()

    @torch.no_grad()
    def samples(self) -> np.ndarray:
        z = torch.randn(SAMPLES, self.config.latent_dim, 1, 1, device=self.device)
        self.g.eval()
        pictures = [to_uint8(self.g(part)) for part in z.split(64)]
        self.g.train()
        return np.concatenate(pictures)

    def balance(self) -> dict[str, float]:
        return {}


def play(
    contestant: Ours | Tutorial, marks: list[float], count_rounds: bool, judge: SampleMetrics
) -> list[dict]:
    """Train, and measure after so many seconds of training, or rounds."""
    rows, spent, rounds = [], 0.0, 0
    for mark in marks:
        while (rounds if count_rounds else spent) < mark and rounds < contestant.steps:
            began = time.process_time()
            contestant.advance()
            spent += (time.process_time() - began) / torch.get_num_threads()
            rounds += 1
        values = judge(contestant.samples()) | contestant.balance()
        shown = {name: round(float(values[name]), 4) for name in SHOWN if name in values}
        rows.append({"seconds": round(spent, 1), "rounds": rounds, **shown})
    return rows


@cache
def open_judge(device: str) -> SampleMetrics:
    config, dataset = choose_settings(Config(**SIZE, device=device))
    return SampleMetrics(dataset, open_split(config, "test"), SAMPLES, device=device)


def contest(
    name: str, settings: dict[str, Any], seed: int, device: str, marks: list[float], count_rounds: bool
) -> list[dict]:
    """The rows of one setting with one seed."""
    contestant = Tutorial({}, seed, device) if name == "tutorial" else Ours(settings, seed, device)
    return play(contestant, marks, count_rounds, open_judge(device))


def draw(results: dict[str, dict[str, list[dict]]], path: Path, unit: str) -> None:
    """Fréchet distance and recall over the training, a line for each setting: the mean over its seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), dpi=90, layout="constrained")
    titles = {"frechet": "Fréchet distance, lower is better", "recall": "recall, higher is better"}
    for axes, (name, title) in zip(figure.subplots(1, 2), titles.items()):
        for setting, seeds in results.items():
            marks = [row[unit] for row in next(iter(seeds.values()))]
            means = [statistics.mean(rows[k][name] for rows in seeds.values()) for k in range(len(marks))]
            axes.plot(marks, means, marker="o", markersize=3, label=setting)
        axes.set(title=title, ylim=(0, None), xlabel=f"{unit} of training")
        axes.grid(alpha=0.25)
    axes.legend(fontsize=7)
    with write_atomically(path) as part:
        figure.savefig(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--settings", default="all", help="names of SETTINGS, or tutorial, with commas between"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--marks", default="30,60,120,240,360", help="seconds of training")
    parser.add_argument("--rounds", help="marks in rounds instead")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side, each on its threads [1]")
    parser.add_argument("--out", type=Path, default=Path("runs/quality.json"))
    given = parser.parse_args()
    names = ["tutorial", *SETTINGS] if given.settings == "all" else given.settings.split(",")
    compete({name: SETTINGS.get(name, {}) for name in names}, given)


def compete(settings: dict[str, dict[str, Any]], given: argparse.Namespace) -> None:
    marks = [float(mark) for mark in (given.rounds or given.marks).split(",")]
    results = json.loads(given.out.read_text())["results"] if given.out.exists() else {}
    hardware = (
        torch.cuda.get_device_name() if given.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    )
    left = [
        (name, seed) for seed in range(given.seeds) for name in settings
        if len(results.get(name, {}).get(str(seed), ())) != len(marks)
    ]  # fmt: skip
    open_judge(given.device)  # trains the classifier, once
    with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
        how = given.device, marks, bool(given.rounds)
        running = [
            (name, seed, pool.submit(contest, name, settings[name], seed, *how)) for name, seed in left
        ]
        for name, seed, future in running:
            results.setdefault(name, {})[str(seed)] = rows = future.result()
            print(f"{name}, seed {seed}", *rows, sep="\n    ", flush=True)
            about = {"hardware": hardware, "torch": torch.__version__, "results": results}
            given.out.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(given.out) as part:
                part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    draw(results, given.out.with_suffix(".png"), "rounds" if given.rounds else "seconds")


if __name__ == "__main__":
    main()
