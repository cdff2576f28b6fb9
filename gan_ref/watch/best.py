"""Metrics of the samples during training: the best checkpoint is kept, and a collapse is reported at once."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from gan_ref.config import Config
from gan_ref.data import Dataset, open_split
from gan_ref.evaluation.metrics import SampleMetrics, describe_collapse, merit
from gan_ref.latents.classes import labels_like, with_class
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import forward_batch, generate
from gan_ref.networks.conditional import classes_told
from gan_ref.watch.metrics import points_of
from gan_ref.watch.progress import Progress

COUNT = 1000  # samples each time: about a second at 32×32


class BestCheckpoint:
    """``measure(G)`` takes the metrics of samples number 0 to 999 of the run's seed, always the same z,
    with classes as frequent as in the data if G is conditional.

    ``improved`` says whether they were the best so far, by merit, so that best.pt is to be written.
    """

    def __init__(
        self, config: Config, dataset: Dataset, device: torch.device, folder: Path, progress: Progress
    ):
        self.metrics = SampleMetrics(dataset, open_split(config, "test"), COUNT, device=device)
        count, classes = self.metrics.count, classes_told(config, dataset.classes)
        labels = None if dataset.labels is None else labels_like(dataset.labels, count)
        z = numbered_z(config.seed, range(count), config.latent_dim)
        self.z = with_class(z, labels, classes).to(device)
        self.points, self.folder, self.progress = dataset.points, folder, progress
        self.batch = forward_batch(dataset.shape[-1])
        self.best = max((row["merit"] for row in progress.rows if "merit" in row), default=-np.inf)
        self.improved = False

    def measure(self, generator: nn.Module) -> dict[str, float]:
        if self.points:
            samples = points_of(generator, self.z)
        else:
            samples = np.concatenate(list(generate(generator, [self.z], self.batch)))
        values = self.metrics(samples)
        values["merit"] = merit(values)
        collapse = describe_collapse(values, self.metrics.reference)
        self.improved = not collapse and values["merit"] > self.best
        if self.improved:
            self.best = values["merit"]
        if collapse:
            best = self.folder / "best.pt"
            kept = f"the last good checkpoint is {best}" if best.exists() else "there is no good checkpoint"
            self.progress.say(f"warning: collapse at step {self.progress.step}: {collapse}; {kept}")
        return values
