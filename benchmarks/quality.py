"""Quality against seconds of training: Fréchet, precision, recall and coverage of named settings.

    python benchmarks/quality.py --settings dcgan,hinge [--seeds 3] [--marks 30,60,120,240,360] [--out FILE]

Every setting trains on the same data with networks of the same size, and 4,000 samples are measured by the
same judge after so many seconds. The clock counts the processor seconds of training alone, divided by the
number of threads, so that a busy machine and the measuring do not count. "tutorial" is the plain loop of
benchmarks/training.py. What is in the JSON file already is kept; FILE with .png is the picture. ``--settings
all`` takes every one; see SETTINGS.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
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
from gan_ref.run import Run, choose_settings

SAMPLES = 4000
SHOWN = ("frechet", "precision", "recall", "reverse_kl", "fools", "sees_fakes", "sees_reals")


def adam(lr: float, beta1: float = 0.0, beta2: float = 0.9) -> dict[str, Any]:
    return {"lr_g": lr, "lr_d": lr, "beta1": beta1, "beta2": beta2}


HINGE: dict[str, Any] = {"objective": "Hinge", "norm_d": "spectral"}
SETTINGS: dict[str, dict[str, Any]] = {
    "baseline": recipes.settings("baseline"),
    "dcgan": recipes.settings("dcgan"),
    "smoothing": recipes.settings("label-smoothing"),
    "hinge-4e-4": HINGE | adam(4e-4),
    "hinge-16e-4": HINGE | adam(16e-4),
    "hinge-8e-4-beta-0.99": HINGE | adam(8e-4, 0.0, 0.99),
    "hinge-8e-4-two-steps": HINGE | adam(8e-4) | {"balance": "Fixed(d_steps=2)"},
    "hinge-lr-d-twice": HINGE | adam(8e-4) | {"lr_d": 16e-4},
    "hinge-wide-g": HINGE | adam(8e-4) | {"width": 48, "d_width": 32},
    "hinge-wide-d": HINGE | adam(8e-4) | {"width": 32, "d_width": 48},
    "hinge-batch-32": HINGE | adam(8e-4) | {"batch_size": 32},
    "hinge-batch-128": HINGE | adam(16e-4) | {"batch_size": 128},
    "hinge-flip": HINGE | adam(8e-4) | {"flip": True},
    "non-saturating-spectral": {"norm_d": "spectral"} | adam(8e-4),
    "hinge-similar": HINGE | adam(8e-4) | {"minibatch_discrimination": True},
}


class Ours:
    """A run of these settings."""

    def __init__(self, settings: dict[str, Any], seed: int, device: str):
        config, self.dataset = choose_settings(Config(**{**settings, "seed": seed, "device": device}))
        self.run, self.turns = Run(config, self.dataset), None
        self.z = numbered_z(seed, range(SAMPLES), config.latent_dim).to(self.run.device)

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
        config, dataset = choose_settings(Config(seed=seed, device=device))
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
        self.loss = torch.nn.BCEWithLogitsLoss()

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


def play(contestant: Ours | Tutorial, marks: list[float], judge: Callable[[np.ndarray], dict]) -> list[dict]:
    """Train, and measure after so many seconds of training."""
    rows, spent, rounds = [], 0.0, 0
    for mark in marks:
        while spent < mark:
            began = time.process_time()
            contestant.advance()
            spent += (time.process_time() - began) / torch.get_num_threads()
            rounds += 1
        values = judge(contestant.samples()) | contestant.balance()
        shown = {name: round(float(values[name]), 4) for name in SHOWN if name in values}
        rows.append({"seconds": mark, "rounds": rounds, **shown})
        print("   ", rows[-1], flush=True)
    return rows


def draw(results: dict[str, dict[str, list[dict]]], path: Path) -> None:
    """Fréchet distance and recall over the seconds, a line for each setting: the mean over its seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), dpi=90, layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("frechet", "recall")):
        for setting, seeds in results.items():
            seconds = [row["seconds"] for row in next(iter(seeds.values()))]
            means = [statistics.mean(rows[k][name] for rows in seeds.values()) for k in range(len(seconds))]
            axes.plot(seconds, means, marker="o", markersize=3, label=setting)
        axes.set(title=name, xlabel="seconds of training")
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
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/quality.json"))
    given = parser.parse_args()
    names = ["tutorial", *SETTINGS] if given.settings == "all" else given.settings.split(",")
    marks = [float(mark) for mark in given.marks.split(",")]
    results = json.loads(given.out.read_text())["results"] if given.out.exists() else {}
    judge: SampleMetrics | None = None
    for seed in range(given.seeds):
        for name in names:
            known = results.get(name, {}).get(str(seed), [])
            if [row["seconds"] for row in known] == marks:
                continue
            print(f"{name}, seed {seed}", flush=True)
            if judge is None:
                config, dataset = choose_settings(Config(device=given.device))
                judge = SampleMetrics(dataset, open_split(config, "test"), SAMPLES, device=given.device)
            kind = Tutorial if name == "tutorial" else Ours
            rows = play(kind(SETTINGS.get(name, {}), seed, given.device), marks, judge)
            results.setdefault(name, {})[str(seed)] = rows
            about = {"threads": torch.get_num_threads(), "torch": torch.__version__, "results": results}
            given.out.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(given.out) as part:
                part.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
            draw(results, given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
