"""Which of the data's labelled factors a direction of latent space moves."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gan_ref.data import open_split
from gan_ref.errors import UserError
from gan_ref.evaluation.classifier import Classifier, open_classifier
from gan_ref.evaluation.metrics import labellings
from gan_ref.latents.directions import sweep_ends
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import FinishedGenerator
from gan_ref.pictures.pages import to_uint8
from gan_ref.seeds import mix_seed

BASES = 100  # z that each direction is swept from
CHANCE = 8  # random directions to compare with


def factor_changes(
    classifier: Classifier,
    generator: FinishedGenerator,
    directions: Tensor,
    seed: int,
    span: tuple[float, float],
) -> dict[str, np.ndarray]:
    """For each head of the classifier, the share of samples that another label is seen in at the two ends of
    a sweep, by direction (R, Z): each (R,), from 0 (the factor stands still) to 1.
    """
    bases = numbered_z(seed, range(BASES), directions.shape[1])
    images = np.concatenate([to_uint8(x) for x in sweep_ends(generator, directions, bases, span)])
    seen = {head: p.argmax(1).reshape(len(directions), BASES, 2) for head, p in classifier(images)[1].items()}
    return {head: (labels[..., 0] != labels[..., 1]).mean(axis=1) for head, labels in seen.items()}


def factor_table(
    generator: FinishedGenerator, names: list[str], directions: Tensor, seed: int, span: tuple[float, float]
) -> str:
    """A row for each direction (R, Z), and one for the mean of some random ones, in percent; * marks a row's
    largest. Raises UserError if the data of the generator's run has no labels.
    """
    train, test = (open_split(generator.config, split) for split in ("train", "test"))
    if train is None or train.points or not (labels := labellings(train)):
        raise UserError("--factors needs images with labels, and this run's data has none")
    held_out = None if test is None else (test.samples, labellings(test))
    classifier = open_classifier(train.samples, labels, held_out)
    rng = torch.Generator().manual_seed(mix_seed(seed, "random directions"))
    chance = F.normalize(torch.randn(CHANCE, directions.shape[1], generator=rng), dim=1)
    changes = factor_changes(classifier, generator, torch.cat([directions, chance]), seed, span)
    averaged = {head: np.append(v[:-CHANCE], v[-CHANCE:].mean()) for head, v in changes.items()}
    return table([*names, "random"], averaged)


def table(names: list[str], changes: dict[str, np.ndarray]) -> str:
    """The shares (R,) of each factor as text: a row for each name, a column for each factor."""
    heads = [head for head in changes if head != "class" or len(changes) == 1]
    values = np.stack([changes[head] for head in heads], axis=1)
    first = max(map(len, names))
    lines = [" " * first + "".join(f"  {head}" for head in heads)]
    for name, row in zip(names, values):
        cells = [f"{v:.0%}{'*' if v == row.max() else ' '}" for v in row]
        padded = [cell.rjust(len(head) + 2) for cell, head in zip(cells, heads)]
        lines.append(name.ljust(first) + "".join(padded))
    return "\n".join(line.rstrip() for line in lines)
