"""Data of which only a few samples show their labels, for semi-supervised learning."""

import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gan_ref.data.batches import Batches
from gan_ref.data.dataset import Dataset
from gan_ref.errors import UserError
from gan_ref.seeds import mix_seed


def hold_out(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """(train, test) of a data set without a test split of its own: disjoint, and the same at each call.

    A tenth is held out. Raises UserError if the data has no labels.
    """
    order = np.random.default_rng(0).permutation(len(dataset))
    test = max(1, round(0.1 * len(dataset)))
    return _part(dataset, np.sort(order[test:])), _part(dataset, np.sort(order[:test]))


def _part(dataset: Dataset, which: np.ndarray) -> Dataset:
    factors = {name: values[which] for name, values in dataset.factors.items()}
    labels = require_labels(dataset)[which]
    return dataclasses.replace(dataset, samples=dataset.samples[which], labels=labels, factors=factors)


def require_labels(dataset: Dataset) -> np.ndarray:
    """The labels; UserError if there are none."""
    if dataset.labels is None:
        raise UserError(f"--labels-per-class: {dataset.name} has no labels; put the images in class folders")
    return dataset.labels


def choose_labelled(dataset: Dataset, per_class: int, seed: int) -> np.ndarray:
    """Indices of ``per_class`` samples of each class, drawn with ``seed``. UserError if a class has fewer."""
    labels = require_labels(dataset)
    order = np.random.default_rng(seed).permutation(len(dataset))
    chosen = []
    for label, name in enumerate(dataset.classes):
        of_class = order[labels[order] == label]
        if len(of_class) < per_class:
            raise UserError(f"--labels-per-class {per_class}: class {name} has only {len(of_class)} samples")
        chosen.append(of_class[:per_class])
    return np.sort(np.concatenate(chosen))


class PartlyLabelled(Batches):
    """Batches of N samples of all the data, without labels, followed by N of the few that have one.

    ``next()`` gives x (2N, C, H, W) and the labels, int64 (N,), of its second half.
    """

    def __init__(self, dataset: Dataset, per_class: int, batch_size: int, seed: int, *rest: Any, **more: Any):
        super().__init__(dataset, batch_size, seed, *rest, **more)
        few = _part(dataset, choose_labelled(dataset, per_class, seed))
        self.labelled = Batches(few, batch_size, mix_seed(seed, "labelled"), *rest, **more)

    def next(self) -> tuple[Tensor, Tensor | None]:
        x, _ = super().next()
        few, labels = self.labelled.next()
        return torch.cat([x, few]), labels

    def load_state_dict(self, state: dict[str, int]) -> None:
        super().load_state_dict(state)
        self.labelled.load_state_dict(state)
