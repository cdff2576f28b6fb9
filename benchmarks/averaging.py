"""The averaged G with averaged statistics of batch norm, and with statistics measured at its own weights.

    python benchmarks/averaging.py [--seeds 3] [--steps 2500] [--out FILE] [train.py's flags]

For each seed it plays a run of the recipe dcgan, and measures 4,000 samples of both.
"""

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gan_ref.config import Config, add_arguments
from gan_ref.data import open_split
from gan_ref.evaluation.metrics import SampleMetrics
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import generate
from gan_ref.loop import play_round
from gan_ref.run import Run, choose_settings

SAMPLES = 4000
SHOWN = ("frechet", "precision", "recall", "reverse_kl")


def measure(metrics: SampleMetrics, module: nn.Module, z: torch.Tensor) -> dict[str, float]:
    values = metrics(np.concatenate(list(generate(module, [z]))))
    return {name: round(values[name], 4) for name in SHOWN}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file for the result")
    add_arguments(parser)
    given = vars(parser.parse_args())
    seeds, out = given.pop("seeds"), given.pop("out")
    rows, metrics = [], None
    for seed in range(seeds):
        config, dataset = choose_settings(Config(**{"steps": 2500, "seed": seed, **given}))
        metrics = metrics or SampleMetrics(dataset, open_split(config, "test"), SAMPLES)
        run = Run(config, dataset)
        for _ in range(config.steps):
            play_round(run)
        z = numbered_z(seed, range(metrics.count), config.latent_dim).to(run.device)
        averaged = measure(metrics, copy.deepcopy(run.average.module), z)
        measured = measure(metrics, run.sampling_generator(), z)
        rows.append({"seed": seed, "steps": config.steps, "averaged": averaged, "measured": measured})
        print(json.dumps(rows[-1]), flush=True)
    if out:
        out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
