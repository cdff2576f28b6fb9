"""Data of which only a few samples show their labels, for semi-supervised learning."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from gan_ref.data.batches import Batches
from gan_ref.data.dataset import Dataset
from gan_ref.errors import UserError


def hold_out(dataset: Dataset, share: float = 0.1, seed: int = 0) -> tuple[Dataset, Dataset]:
    """(train, test) of a data set without a test split of its own: disjoint, the same at each call."""
    order = np.random.default_rng(seed).permutation(len(dataset))
    test = max(1, round(share * len(dataset)))
    return _part(dataset, np.sort(order[test:])), _part(dataset, np.sort(order[:test]))


def _part(dataset: Dataset, which: np.ndarray) -> Dataset:
    factors = {name: values[which] for name, values in dataset.factors.items()}
    return dataclasses.replace(
        dataset, samples=dataset.samples[which], labels=dataset.labels[which], factors=factors
    )


def choose_labelled(dataset: Dataset, per_class: int, seed: int) -> np.ndarray:
    """Indices of ``per_class`` samples of each class, drawn with ``seed``. UserError if a class has fewer."""
    if dataset.labels is None:
        raise UserError(f"--labels-per-class: {dataset.name} has no labels; put the images in class folders")
    order = np.random.default_rng(seed).permutation(len(dataset))
    chosen = []
    for label, name in enumerate(dataset.classes):
        of_class = order[dataset.labels[order] == label]
        if len(of_class) < per_class:
            raise UserError(f"--labels-per-class {per_class}: class {name} has only {len(of_class)} samples")
        chosen.append(of_class[:per_class])
    return np.sort(np.concatenate(chosen))


class PartlyLabelled:
    """Batches of N samples of all the data, without labels, followed by N of the few that have one.

    ``next()`` gives x (2N, C, H, W) and the labels, int64 (N,), of its second half. Otherwise as Batches.
    """

    def __init__(
        self,
        dataset: Dataset,
        per_class: int,
        batch_size: int,
        seed: int,
        device: torch.device,
        flip: bool,
        rank: int = 0,
        world: int = 1,
    ):
        few = _part(dataset, choose_labelled(dataset, per_class, seed))
        self.unlabelled = Batches(dataset, batch_size, seed, device, flip, rank, world)
        self.labelled = Batches(few, batch_size, seed + 1, device, flip, rank, world)

    def next(self) -> tuple[Tensor, Tensor]:
        x, _ = self.unlabelled.next()
        few, labels = self.labelled.next()
        return torch.cat([x, few]), labels

    def take(self, n: int) -> tuple[Tensor, Tensor | None]:
        return self.unlabelled.take(n)

    def state_dict(self) -> dict[str, int]:
        return self.unlabelled.state_dict()

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.unlabelled.load_state_dict(state)
        self.labelled.load_state_dict(state)
