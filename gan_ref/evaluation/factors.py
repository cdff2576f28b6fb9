"""Which of the data's labelled factors a direction of latent space moves."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from gan_ref.evaluation.classifier import Classifier
from gan_ref.latents.directions import sweep_ends
from gan_ref.latents.numbers import numbered_z
from gan_ref.latents.samples import FinishedGenerator
from gan_ref.pictures.pages import to_uint8

BASES = 100  # z that each direction is swept from


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


def table(names: list[str], changes: dict[str, np.ndarray]) -> str:
    """A row for each direction and a column for each factor, in percent; * marks a row's largest."""
    heads = [head for head in changes if head != "class" or len(changes) == 1]
    values = np.stack([changes[head] for head in heads], axis=1)
    first = max(map(len, names))
    lines = [" " * first + "".join(f"  {head}" for head in heads)]
    for name, row in zip(names, values):
        cells = (
            f"{v:.0%}{'*' if v == row.max() else ' '}".rjust(len(head) + 2) for v, head in zip(row, heads)
        )
        lines.append(name.ljust(first) + "".join(cells))
    return "\n".join(line.rstrip() for line in lines)
